// What a page does beside showing itself: it asks for itself again, and keeps what its reader has opened.
"use strict";
(() => {
  const main = () => document.querySelector("main");
  const pause = document.querySelector("#pause");
  let paused = sessionStorage.getItem("paused") === "yes";

  const shown = () => {
    if (pause) {
      pause.textContent = paused ? "Resume" : "Pause";
      pause.setAttribute("aria-pressed", String(paused));
    }
  };

  const busy = () => {
    const focus = document.activeElement;
    const fills = focus && main().contains(focus) && focus.closest("form");
    return paused || document.hidden || fills || !getSelection().isCollapsed;
  };

  // What is shown is as old as its last line says: it stays, and that is told.
  const stale = (why) => {
    const note = document.querySelector("#stale");
    document.body.classList.toggle("stale", Boolean(why));
    note.hidden = !why;
    note.textContent = why;
  };

  const replace = (text, isGood) => {
    const fresh = new DOMParser().parseFromString(text, "text/html").querySelector("main");
    if (!fresh) throw new Error("no page of the console's");
    if (!isGood) fresh.dataset.every = main().dataset.every; // what failed once is asked for again
    const open = new Set([...main().querySelectorAll("details[open][id]")].map((one) => one.id));
    for (const one of fresh.querySelectorAll("details[id]")) one.open = one.open || open.has(one.id);
    const scrolled = [...main().querySelectorAll(".scroll, .plot")].map((one) => one.scrollLeft);
    const focus = main().contains(document.activeElement) ? document.activeElement.href : "";
    main().replaceWith(fresh);
    if (focus) [...main().querySelectorAll("a")].find((one) => one.href === focus)?.focus({ preventScroll: true });
    newest();
    [...main().querySelectorAll(".scroll, .plot")].forEach((one, at) => { one.scrollLeft = scrolled[at] ?? one.scrollLeft; });
  };

  const again = async () => {
    const every = Number(main().dataset.every);
    if (!every) return;
    if (!busy()) {
      try {
        const answer = await fetch(location.href, { headers: { "x-console-refresh": "1" } });
        if (answer.redirected) { location.reload(); return; }
        replace(await answer.text(), answer.ok);
        stale("");
      } catch { stale("The broker does not answer now. What is shown is what it said last; it is asked again and again."); }
    }
    setTimeout(again, every * 1000);
  };

  // Where a chart is wider than the window, its newest end is what is looked for.
  const newest = () => {
    for (const one of document.querySelectorAll(".plot")) one.scrollLeft = one.scrollWidth;
  };

  const logIn = () => {
    const form = document.querySelector("#login");
    const token = decodeURIComponent(location.hash.slice(1));
    if (!form || !token) return;
    history.replaceState(null, "", location.pathname + location.search);
    form.elements.token.value = token;
    form.submit();
  };

  document.addEventListener("change", (event) => {
    const form = event.target.closest("form[data-goes]");
    if (form) form.submit();
  });
  if (pause) {
    pause.hidden = !Number(main().dataset.every);
    pause.addEventListener("click", () => {
      paused = !paused;
      sessionStorage.setItem("paused", paused ? "yes" : "no");
      shown();
    });
  }
  shown();
  newest();
  logIn();
  if (main() && Number(main().dataset.every)) setTimeout(again, Number(main().dataset.every) * 1000);
})();
