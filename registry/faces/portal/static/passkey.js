// Lets the browser's passkey answer for a form: asks for a challenge, puts the answer into a field, sends the form.
"use strict";

// A block: other scripts of a page have names of their own.
{
  const toBytes = (text) =>
    Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (sign) => sign.charCodeAt(0));
  const toText = (bytes) =>
    btoa(String.fromCharCode(...new Uint8Array(bytes))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

  async function ask(form) {
    const answer = await fetch(form.dataset.options, { headers: { Accept: "application/json" }, redirect: "error" });
    if (!answer.ok) throw new Error("no challenge");
    const options = await answer.json();
    options.challenge = toBytes(options.challenge);
    for (const known of [...(options.excludeCredentials ?? []), ...(options.allowCredentials ?? [])]) {
      known.id = toBytes(known.id);
    }
    if (form.dataset.passkey === "create") {
      options.user.id = toBytes(options.user.id);
      return navigator.credentials.create({ publicKey: options });
    }
    return navigator.credentials.get({ publicKey: options });
  }

  function written(credential) {
    const response = {};
    for (const part of ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"]) {
      if (credential.response[part]) response[part] = toText(credential.response[part]);
    }
    return JSON.stringify({
      id: credential.id,
      rawId: toText(credential.rawId),
      type: credential.type,
      response,
      clientExtensionResults: {},
    });
  }

  for (const form of document.querySelectorAll("form[data-passkey]")) {
    const field = form.querySelector("[data-answer]");
    const trouble = form.querySelector("[data-trouble]");
    form.addEventListener("submit", async (event) => {
      if (field.value || event.submitter?.hasAttribute("data-plain")) return;
      event.preventDefault();
      trouble.hidden = true;
      try {
        field.value = written(await ask(form));
        if ("inPlace" in form.dataset) form.dispatchEvent(new Event("answered"));
        else HTMLFormElement.prototype.submit.call(form); // whatever the fields that it carries are called
      } catch {
        // Refused, too late, or no passkey of this browser's.
        field.value = "";
        trouble.hidden = false;
      }
    });
    // What the browser kept of a page that was left is no answer any more.
    addEventListener("pageshow", () => (field.value = ""));
  }
}
