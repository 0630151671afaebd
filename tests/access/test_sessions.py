"""Browser sessions: opening one with a key or a password, what it may do, and everything that ends it."""

from __future__ import annotations

import pytest
from django.contrib.sessions.models import Session
from django.test import Client

from tests.access.browser import Browser
from tests.access.conftest import PASSWORD, Configure, MakeKey, MakeUser, Revoke
from tests.apiclient import ADMIN, READER

pytestmark = pytest.mark.django_db


def test_a_key_is_exchanged_for_a_cookie_that_scripts_and_other_sites_cannot_use(browser: Browser) -> None:
    cookie = browser.sign_in(key=ADMIN).cookies["sessionid"]

    assert cookie["httponly"]
    assert cookie["samesite"] == "Strict"
    assert browser.get().json()["auth"]["name"] == "ci"


def test_the_answer_holds_the_csrf_token_and_who_signed_in(browser: Browser) -> None:
    answer = browser.sign_in(headers={"x-api-key": READER}).json()

    assert answer.keys() == {"ok", "auth", "csrf_token"}
    assert (answer["auth"]["name"], answer["auth"]["can_write"]) == ("dashboard", False)


def test_the_session_stores_nothing_of_the_key(browser: Browser, make_key: MakeKey) -> None:
    secret = make_key().secret
    browser.sign_in(key=secret)

    stored = str(Session.objects.get().get_decoded())

    assert "db:" in stored
    assert secret.split("_", 2)[2] not in stored


def test_signing_in_gives_a_planted_session_a_new_id(browser: Browser) -> None:
    browser.sign_in(key=READER)
    planted = browser.client.cookies["sessionid"].value

    browser.sign_in(key=ADMIN)

    assert browser.client.cookies["sessionid"].value != planted
    assert not Session.objects.filter(session_key=planted).exists()


def test_a_write_needs_the_csrf_token(browser: Browser) -> None:
    browser.sign_in(key=ADMIN)
    body = {"name": "made-in-a-browser"}

    allowed = browser.post("/v1/keys", body)
    browser.csrf_token = ""
    refused = browser.post("/v1/keys", body)

    assert allowed.status_code == 201
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "CSRF_FAILED")


def test_a_page_that_was_reloaded_gets_a_csrf_token_again(browser: Browser) -> None:
    browser.sign_in(key=ADMIN)

    browser.csrf_token = browser.get("/v1/auth/session").json()["csrf_token"]

    assert browser.post("/v1/auth/sse-token", {}).status_code == 200


def test_a_foreign_page_cannot_sign_a_browser_in(browser: Browser) -> None:
    response = browser.sign_in(key=ADMIN, headers={"Origin": "https://evil.example"})

    assert response.json()["error"]["code"] == "CSRF_FAILED"
    assert "sessionid" not in browser.client.cookies


def test_a_trusted_origin_may_sign_a_browser_in(browser: Browser, configure: Configure) -> None:
    configure(TRUSTED_ORIGINS="https://jobs.example.org")

    assert browser.sign_in(key=ADMIN, headers={"Origin": "https://jobs.example.org"}).status_code == 200


def test_revoking_the_key_ends_its_sessions(browser: Browser, make_key: MakeKey, revoke: Revoke) -> None:
    made = make_key()
    browser.sign_in(key=made.secret)
    before = browser.get().status_code

    revoke(made)

    assert (before, browser.get().status_code) == (200, 401)


def test_taking_a_key_out_of_the_configuration_ends_its_sessions(browser: Browser, configure: Configure) -> None:
    browser.sign_in(key=READER)

    configure(API_KEYS_JSON="", API_KEY="another-key-for-tests")

    assert browser.get().status_code == 401


def test_signing_out_ends_the_session(browser: Browser) -> None:
    browser.sign_in(key=READER)

    response = browser.delete("/v1/auth/session")

    assert response.status_code == 200
    assert browser.get().status_code == 401
    assert not Session.objects.exists()


def test_a_wrong_key_in_the_header_does_not_fall_back_to_the_session(browser: Browser) -> None:
    browser.sign_in(key=ADMIN)

    assert browser.client.get("/v1/auth/whoami", headers={"x-api-key": "wrong"}).status_code == 401


@pytest.mark.parametrize(("is_staff", "role"), [(True, "admin"), (False, "read")])
def test_a_user_signs_in_with_a_password_and_staff_are_admins(
    browser: Browser, make_user: MakeUser, is_staff: bool, role: str
) -> None:
    make_user(is_staff=is_staff)

    auth = browser.sign_in(username="anna", password=PASSWORD).json()["auth"]

    assert (auth["name"], auth["role"]) == ("anna", role)
    assert browser.get().json()["auth"] == auth


def test_what_a_user_does_is_recorded_under_the_user_s_name(browser: Browser, make_user: MakeUser) -> None:
    make_user(is_staff=True)
    browser.sign_in(username="anna", password=PASSWORD)

    made = browser.post("/v1/keys", {"name": "bot"}).json()

    assert made["key"]["created_by"] == "user:anna"


def test_a_new_password_ends_the_user_s_sessions(browser: Browser, make_user: MakeUser) -> None:
    anna = make_user()
    browser.sign_in(username="anna", password=PASSWORD)

    anna.set_password("another long password")
    anna.save()

    assert browser.get().status_code == 401


def test_a_key_takes_the_place_of_a_user_s_session(browser: Browser, make_user: MakeUser) -> None:
    make_user(is_staff=True)
    browser.sign_in(username="anna", password=PASSWORD)

    browser.sign_in(key=READER)

    assert browser.get().json()["auth"]["name"] == "dashboard"


@pytest.mark.parametrize(
    "credentials",
    [{"key": "wrong"}, {"username": "anna", "password": "wrong"}, {"username": "nobody", "password": PASSWORD}],
)
def test_wrong_credentials_are_401_and_open_no_session(
    browser: Browser, make_user: MakeUser, credentials: dict[str, str]
) -> None:
    make_user()

    assert browser.sign_in(**credentials).status_code == 401
    assert "sessionid" not in browser.client.cookies


def test_an_inactive_user_cannot_sign_in(browser: Browser, make_user: MakeUser) -> None:
    make_user(is_active=False)

    assert browser.sign_in(username="anna", password=PASSWORD).status_code == 401


@pytest.mark.parametrize(
    "credentials",
    [{}, {"username": "anna"}, {"password": PASSWORD}, {"key": ADMIN, "username": "anna", "password": PASSWORD}],
)
def test_half_or_two_credentials_are_a_bad_request(browser: Browser, credentials: dict[str, str]) -> None:
    assert browser.sign_in(**credentials).status_code == 400


def test_a_password_is_not_even_looked_at_after_too_many_failures(
    browser: Browser, make_user: MakeUser, configure: Configure
) -> None:
    configure(AUTH_FAILURE_LIMIT_PER_MIN=2)
    browser.client.defaults["REMOTE_ADDR"] = "198.51.100.8"
    make_user()

    statuses = [browser.sign_in(username="anna", password=word).status_code for word in ("a", "b", PASSWORD)]

    assert statuses == [401, 401, 429]


def test_the_admin_s_login_form_shares_the_limit(browser: Browser, make_user: MakeUser, configure: Configure) -> None:
    configure(AUTH_FAILURE_LIMIT_PER_MIN=2)
    client = Client(REMOTE_ADDR="198.51.100.9")
    make_user(is_staff=True)

    for word in ("a", "b", PASSWORD):
        client.post("/admin/login/", {"username": "anna", "password": word})

    assert "sessionid" not in client.cookies
