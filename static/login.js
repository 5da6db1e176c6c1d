// The login page. Signing in by link goes by itself; who is signed in already is sent on.

document.documentElement.classList.add("has-script");
const code = document.getElementById("login-code");
const next = document.getElementById("login-next");

if (code) {
  // The code is good for one sign-in only, and should not stay in the history.
  history.replaceState(null, "", "/login");
  code.requestSubmit();
} else if (next) {
  goOn();
}

// The session's cookie is not sent with a visit from another site; from this page it is.
async function goOn() {
  const answer = await fetch("/login", { headers: { Accept: "application/json" } });
  if (answer.ok && (await answer.json()).signed_in) location.replace(next.href);
}
