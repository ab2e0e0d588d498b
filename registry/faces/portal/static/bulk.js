// Gives the chosen file again and again, a hundred rows further each time, until every row has its code.
// Without this script the official does the same by hand, with larger steps.
"use strict";

const form = document.getElementById("bulk");
const run = document.getElementById("run");
const bar = document.getElementById("run-bar");
const words = document.getElementById("run-words");
const AGAIN_MILLISECONDS = 3000;
const MOST_FAULTS = 5;

const pause = () => new Promise((resolve) => setTimeout(resolve, AGAIN_MILLISECONDS));

function tell(job) {
  bar.max = Number(job.dataset.total);
  bar.value = Number(job.dataset.done);
  words.textContent = words.dataset.words
    .replace("{done}", job.dataset.done)
    .replace("{total}", job.dataset.total);
}

async function step(body) {
  let faults = 0;
  for (;;) {
    try {
      const answer = await fetch(form.action, { method: "POST", body });
      if (answer.status < 500 || ++faults === MOST_FAULTS) return answer;
    } catch {
      // Out of reach for now. The same form again begins nothing twice.
    }
    words.textContent = words.dataset.lost;
    await pause();
  }
}

async function go() {
  const body = new FormData(form);
  body.set("step", "begins");
  form.hidden = true;
  run.hidden = false;
  run.focus();
  for (;;) {
    const answer = await step(body);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const job = page.getElementById("job");
    if (job === null) {
      // Something is to be mended, or the session is over. The browser sends the form itself, and shows the
      // answer as it would without this script.
      form.submit();
      return;
    }
    tell(job);
    body.set("step", "goes-on");
    if (job.dataset.goesOn !== "yes") {
      location.assign(answer.url);
      return;
    }
  }
}

form.addEventListener("submit", (event) => {
  if (form.elements.file.files.length === 0) return; // the page itself says what to do
  event.preventDefault();
  go();
});
