// What htmx does not do by itself: the token, starting runs, times that move on, a user's detail in place, and saying
// what has changed. Without this file the page still shows everything.
"use strict";

(() => {
  const TOKEN = "synergyway-token"; // pragma: allowlist secret
  const WIDE = matchMedia("(min-width: 64rem)");
  const USER = /^\/users\/ui\/\d+$/;
  const byId = (id) => document.getElementById(id);

  // The token: in this tab alone.

  let afterToken = null;
  let kept = null; // where the browser lets nothing be stored

  function token() {
    try { return sessionStorage.getItem(TOKEN); } catch { return kept; }
  }

  function keepToken(value) {
    kept = value;
    try {
      if (value === null) sessionStorage.removeItem(TOKEN);
      else sessionStorage.setItem(TOKEN, value);
    } catch { /* it stays in memory */ }
  }

  function askForToken(why, then = null) {
    afterToken = then;
    if (why) byId("token-why").textContent = why;
    byId("token-forget").hidden = token() === null;
    byId("token").showModal();
  }

  // Times: the same words as app/api/page_words.py.

  let clocksDiffer = 0;

  function span(seconds) {
    if (seconds < 60) return `${Math.floor(seconds / 5) * 5} s`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
    if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
    return `${Math.floor(seconds / 86400)} days`;
  }

  function relative(direction, seconds) {
    if (direction === "ahead") return seconds < 5 ? "now" : `in ${span(seconds)}`;
    return seconds < 5 ? "just now" : `${span(seconds)} ago`;
  }

  function sayTimes() {
    const now = Date.now() + clocksDiffer;
    for (const time of document.querySelectorAll("time[data-relative]")) {
      const { relative: direction } = time.dataset;
      const passed = Math.trunc((now - Date.parse(time.dateTime)) / 1000);
      const words = relative(direction, direction === "ahead" ? -passed : passed);
      if (time.textContent !== words) time.textContent = words;
    }
  }

  function setClock(element) {
    const now = Date.parse(element?.dataset.now);
    if (!Number.isNaN(now)) clocksDiffer = now - Date.now();
  }

  // Saying what has happened: to the eye as a note, to a screen reader as a status.

  function say(text) {
    byId("said").textContent = text;
  }

  function note(text, { bad = false, run = null } = {}) {
    const box = document.createElement("div");
    box.className = bad ? "note bad" : "note";
    const words = document.createElement("p");
    words.dir = "auto";
    words.textContent = text;
    if (run) {
      const link = document.createElement("a");
      link.href = `/users/ui/runs/${run}`;
      link.textContent = `Watch run ${run}`;
      words.append(" ", link);
    }
    const close = document.createElement("button");
    close.type = "button";
    close.className = "quiet small";
    close.textContent = "Close";
    close.addEventListener("click", () => box.remove());
    box.append(words, close);
    byId("notes").replaceChildren(box);
    say(text);
    if (!bad) setTimeout(() => box.remove(), 15000);
  }

  function showLive(state, words) {
    const live = byId("live");
    if (!live) return;
    live.hidden = false;
    live.className = `live ${state}`;
    if (byId("live-word").textContent !== words) byId("live-word").textContent = words;
  }

  // Starting runs. A key goes with each wish, so that asking again after a lost answer starts nothing twice.

  const keys = new Map();

  function keyFor(task) {
    if (!keys.has(task)) {
      const bytes = crypto.getRandomValues(new Uint8Array(16));
      keys.set(task, Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(""));
    }
    return keys.get(task);
  }

  async function start(task) {
    if (token() === null) {
      askForToken(null, () => start(task));
      return;
    }
    let response;
    let answer;
    try {
      response = await fetch("/runs", {
        method: "POST",
        headers: { "Authorization": `Bearer ${token()}`, "Content-Type": "application/json", "Idempotency-Key": keyFor(task) },
        body: JSON.stringify({ task }),
      });
      answer = await response.json();
    } catch {
      note("The service did not answer, so it is not known whether the run has started. Try again: it starts only once.", { bad: true });
      return;
    }
    keys.delete(task);
    if (response.status === 401) {
      keepToken(null);
      askForToken("That token is not the right one. The right one is the value of API_TOKEN.", () => start(task));
    } else if (!response.ok) {
      note(typeof answer.detail === "string" ? answer.detail : `The run could not be started (${response.status}).`, { bad: true });
    } else if (answer.status === "skipped") {
      note(`Nothing was started: ${answer.error_message}.`, { run: answer.blocked_by });
    } else {
      note(`Run ${answer.id} of ${answer.task} has started.`, { run: answer.id });
    }
    refresh();
  }

  // Keeping up: htmx asks, this decides when, and what follows from the answers.

  let version = null;
  let words = new Map();
  let runStatus = null;

  function refresh() {
    for (const id of ["status", "run"]) if (byId(id)) htmx.trigger(byId(id), "refresh");
  }

  function readStatus() {
    const status = byId("status");
    if (!status) return;
    setClock(status);
    const seen = new Map(Array.from(status.querySelectorAll(".tile"), (tile) => [tile.querySelector("h3").textContent, tile.querySelector(".badge").textContent]));
    const changed = [...seen].filter(([title, word]) => words.has(title) && words.get(title) !== word);
    if (changed.length) say(changed.map(([title, word]) => `${title}: ${word}`).join(". "));
    words = seen;
    if (version !== null && version !== status.dataset.version) htmx.trigger(document.body, "changed");
    version = status.dataset.version;
  }

  function readRun() {
    const run = byId("run");
    if (!run) return;
    if (runStatus !== null && runStatus !== run.dataset.status) say(run.querySelector(".headline").textContent);
    runStatus = run.dataset.status;
  }

  document.addEventListener("htmx:config:request", (event) => {
    const { ctx } = event.detail;
    const isPoll = ctx.sourceEvent?.type === "every";
    if (isPoll && document.hidden) {
      event.preventDefault();
      return;
    }
    if (token() !== null) ctx.request.headers["Authorization"] = `Bearer ${token()}`;
    // A filter that is left open need not be in the address.
    for (const [name, value] of [...(ctx.request.body ?? [])]) if (value === "") ctx.request.body.delete(name);
  });

  document.addEventListener("htmx:before:response", (event) => {
    const { status } = event.detail.ctx.response;
    if (status === 401 && !byId("locked")) location.reload();
    if (status >= 500) showLive("lost", "No news: the service has a problem");
    else if (byId("status") || byId("run")) showLive("", "Live");
  });

  document.addEventListener("htmx:error", () => showLive("lost", "No news: the service does not answer"));

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) showLive("paused", "Paused");
    else refresh();
  });

  document.addEventListener("htmx:after:swap", (event) => {
    const { target } = event.detail.ctx;
    if (target?.id === "detail") showDetail();
    else if (target?.isConnected) setClock(target);
    markOpen();
    readStatus();
    readRun();
    sayTimes();
  });

  // A user's detail over the list, with an address of its own.

  let listAddress = location.pathname + location.search;
  let listTitle = document.title;

  function markOpen() {
    const number = byId("detail").open && USER.test(location.pathname) ? location.pathname.split("/").pop() : null;
    for (const link of document.querySelectorAll(".table [aria-current]")) link.removeAttribute("aria-current");
    if (number) byId(`open-${number}`)?.setAttribute("aria-current", "true");
  }

  function showDetail() {
    const detail = byId("detail");
    if (!detail.open) {
      if (WIDE.matches) detail.show();
      else detail.showModal();
    }
    detail.scrollTop = 0;
    detail.querySelector("h1")?.focus();
  }

  function hideDetail() {
    byId("detail").replaceChildren();
    document.title = listTitle;
    if (USER.test(location.pathname)) history.pushState({ htmx: true }, "", listAddress);
    markOpen();
  }

  function noteList(event) {
    const { path } = event.detail;
    if (USER.test(path.split("?")[0])) return;
    listAddress = path;
    if (!byId("detail").open) listTitle = document.title;
  }

  document.addEventListener("htmx:after:history:push", noteList);
  document.addEventListener("htmx:after:history:replace", noteList);
  document.addEventListener("close", (event) => { if (event.target.id === "detail") hideDetail(); }, true);

  document.addEventListener("htmx:before:history:restore", (event) => {
    const { path } = event.detail;
    if (!byId("filters")) return;
    if (USER.test(path.split("?")[0])) {
      event.preventDefault();
      htmx.ajax("GET", path, { target: "#detail", swap: "innerHTML" });
    } else if (path === listAddress && byId("detail").open) {
      event.preventDefault();
      byId("detail").close();
    }
  });

  // What is pressed

  // A link cannot send the token: what it leads to is fetched with it, and shown in the link's place.

  async function showJson(link) {
    let response;
    try {
      response = await fetch(link.href, { headers: { "Authorization": `Bearer ${token()}` } });
    } catch {
      note("The service did not answer. Try again.", { bad: true });
      return;
    }
    if (response.status === 401) {
      keepToken(null);
      askForToken("That token is not the right one. The right one is the value of API_TOKEN.", () => showJson(link));
      return;
    }
    location.assign(URL.createObjectURL(await response.blob()));
  }

  document.addEventListener("click", (event) => {
    const json = event.target.closest("[data-json]");
    if (json) {
      event.preventDefault();
      if (token() === null) askForToken(null, () => showJson(json));
      else showJson(json);
      return;
    }
    const pressed = event.target.closest("[data-start], [data-open], [data-close]");
    if (!pressed) return;
    if (pressed.dataset.start) start(pressed.dataset.start);
    else if (pressed.dataset.open === "token") askForToken(null);
    else pressed.closest("dialog")?.close();
  });

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && byId("detail").open) byId("detail").close();
  });

  document.addEventListener("submit", (event) => {
    const value = new FormData(event.target).get("token");
    if (event.target.id === "token-form") {
      keepToken(value.trim());
      event.target.reset();
      afterToken?.();
      afterToken = null;
    } else if (event.target.id === "unlock") {
      event.preventDefault();
      keepToken(value.trim());
      unlock();
    }
  });

  function unlock() {
    htmx.ajax("GET", location.pathname + location.search, { target: "#main", swap: "innerHTML" });
  }

  document.addEventListener("DOMContentLoaded", () => {
    byId("token-forget").addEventListener("click", () => {
      keepToken(null);
      byId("token").close();
    });
    setClock(document.documentElement);
    sayTimes();
    setInterval(sayTimes, 5000);
    readStatus();
    readRun();
    if (byId("status") || byId("run")) showLive("", "Live");
    if (byId("locked") && token() !== null) unlock();
  });
})();
