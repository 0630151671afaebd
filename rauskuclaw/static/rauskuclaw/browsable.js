// Sends a form's JSON as the API wants it and shows the answer's page in place of this one.
for (const form of document.querySelectorAll("form.write")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const say = form.querySelector("output");
    const body = form.elements.body?.value.trim() || undefined;
    try {
      if (body) JSON.parse(body);
    } catch (fault) {
      say.textContent = `Not JSON: ${fault.message}`;
      return;
    }
    say.textContent = "Sending …";
    const headers = { Accept: "text/html", "X-CSRFToken": form.dataset.csrf };
    if (body) headers["Content-Type"] = "application/json";
    try {
      const answer = await fetch(location.href, { method: form.dataset.method, headers, body });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const shown = page.querySelector(".exchange");
      if (!shown) throw new Error(`${answer.status} ${answer.statusText}`);
      document.querySelector(".exchange").replaceWith(shown);
      say.textContent = "";
      shown.scrollIntoView({ block: "center" });
    } catch (fault) {
      say.textContent = `No answer: ${fault.message}`;
    }
  });
}
