// Health at a glance, and the copy button. The page reads well without either.
const words = { true: "Everything is ready.", false: "Not everything is ready yet." };

function show(ok, checks) {
  const state = document.querySelector(".state");
  state.dataset.ok = ok;
  state.querySelector("span:last-child").textContent = words[ok];
  for (const part of document.querySelectorAll(".parts [data-check]")) {
    const check = checks[part.dataset.check];
    if (!check) { delete part.dataset.ok; continue; }
    part.dataset.ok = check.ok;
    part.querySelector(".detail").textContent = check.detail;
  }
}

async function look() {
  if (document.hidden) return;
  try {
    const answer = await fetch("/ready", { signal: AbortSignal.timeout(8000) });
    const body = await answer.json();
    const checks = body.checks ?? body.error.details?.checks ?? {};
    show(body.ok, { web: { ok: true, detail: "answers" }, ...checks });
  } catch {
    show(false, { web: { ok: false, detail: "does not answer" } });
  }
}

look();
setInterval(look, 5000);
document.addEventListener("visibilitychange", look);

const button = document.querySelector(".copy");
button.hidden = false;
button.addEventListener("click", async () => {
  const code = document.getElementById("first-job");
  try {
    await navigator.clipboard.writeText(code.textContent.trim());
    button.textContent = "Copied";
  } catch { // no clipboard outside HTTPS and localhost: select it for Ctrl-C
    getSelection().selectAllChildren(code);
    button.textContent = "Press Ctrl-C";
  }
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
});
