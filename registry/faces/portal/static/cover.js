// Covers a page whose session is locked, and keeps what was typed; without it the server's lock alone stands.
"use strict";

// A block: other scripts of a page have names of their own.
{
  const cover = document.getElementById("cover");
  const unlock = cover.querySelector("form");
  const answer = unlock.querySelector("[data-answer]");
  const EVERY_MILLISECONDS = 60000;
  const LOCKED = [403, 423];
  let used = false;

  for (const kind of ["keydown", "pointerdown", "input"]) {
    document.addEventListener(kind, () => (used = used || !cover.open), { capture: true, passive: true });
  }

  async function look() {
    const form = new FormData(unlock);
    if (used) form.set("used", "1");
    used = false;
    try {
      const found = await fetch(cover.dataset.awake, { method: "POST", body: form, redirect: "error" });
      if (found.ok && cover.open) cover.close();
      if (LOCKED.includes(found.status) && !cover.open) cover.showModal();
    } catch {
      // Out of reach for now: it is asked again.
    }
    answer.value = "";
  }

  cover.addEventListener("cancel", (event) => event.preventDefault());
  cover.addEventListener("close", () => look()); // closed by whatever means: the server says whether it stays so
  unlock.addEventListener("answered", look);
  unlock.addEventListener("submit", (event) => {
    if (!event.submitter?.hasAttribute("data-plain")) return;
    event.preventDefault();
    look();
  });
  setInterval(look, EVERY_MILLISECONDS);
  document.addEventListener("visibilitychange", () => document.hidden || look());
}
