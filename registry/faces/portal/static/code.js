// Keeps what the page says of a code's state up to date while it is open. Without it: load the page again.
"use strict";

const state = document.getElementById("state");
const EVERY_MILLISECONDS = 30000;
const GONE = [403, 404, 410];

const stageOf = (part) => part.querySelector("[data-stage]")?.dataset.stage;

async function lookAgain() {
  if (document.hidden) return;
  try {
    const answer = await fetch(state.dataset.state, { headers: { Accept: "text/html" }, redirect: "error" });
    if (GONE.includes(answer.status)) {
      // Signed out, or the code is forgotten: the page itself says which.
      location.reload();
      return;
    }
    if (!answer.ok) return; // a passing fault takes nothing from who is reading the code out
    const found = new DOMParser().parseFromString(await answer.text(), "text/html").body;
    if (stageOf(found) !== stageOf(state)) {
      // The code is no longer to be shown, or over: no desk keeps it on the screen.
      location.reload();
      return;
    }
    // Only what changed is read out again.
    if (found.textContent.trim() !== state.textContent.trim()) state.replaceChildren(...found.childNodes);
  } catch {
    // Out of reach for now: what stands there stays.
  }
}

setInterval(lookAgain, EVERY_MILLISECONDS);
document.addEventListener("visibilitychange", lookAgain);
