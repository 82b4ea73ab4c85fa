// The console: asks for the state every two seconds and follows the event feed.
"use strict";

const REFRESH_MS = 2000;
const EVENTS_SHOWN_MAX = 200;
const EXPLAINED_POOLS_MAX = 30;

// An EventSource hears named events only by name.
const EVENT_TYPES = [
  "scaling.decided", "scaling.suppressed",
  "worker.starting", "worker.ready", "worker.draining", "worker.stopped", "worker.crashed",
  "node.joined", "node.left", "nodes.decided", "leader.changed", "alert.firing", "alert.resolved",
  "breaker.opened", "breaker.half_open", "breaker.closed",
  "batch.created", "batch.checkpointed", "batch.completed", "batch.failed", "batch.cancelled",
  "config.applied", "config.rejected",
];

const byId = (id) => document.getElementById(id);

/** Everything is set as text, so nothing that comes from outside becomes markup. */
function element(name, text, className) {
  const node = document.createElement(name);
  if (text !== undefined && text !== null) node.textContent = text;
  if (className) node.className = className;
  return node;
}

function cell(content, className) {
  if (!(content instanceof Node)) return element("td", content, className);
  const node = element("td", null, className);
  node.append(content);
  return node;
}

function row(cells) {
  const node = element("tr");
  node.append(...cells);
  return node;
}

async function fetchJson(path) {
  const response = await fetch(path, { headers: { accept: "application/json" } });
  if (!response.ok) {
    const problem = await response.json().catch(() => ({}));
    throw new Error(problem.detail || `${path} answers ${response.status}`);
  }
  return response.json();
}

function duration(seconds) {
  const units = [["d", 86400], ["h", 3600], ["min", 60]];
  for (const [unit, size] of units) {
    if (seconds >= size) return `${Math.floor(seconds / size)} ${unit}`;
  }
  return `${Math.floor(seconds)} s`;
}

function load(score) {
  if (score === null || score === undefined) return "not measured";
  const meter = element("meter");
  Object.assign(meter, { min: 0, max: 1.2, low: 0.8, high: 1, optimum: 0, value: score });
  const both = element("span");
  both.append(meter, ` ${Math.round(score * 100)} %`);
  return both;
}

function poolRow(pool, explanation) {
  const coming = pool.starting ? ` (+${pool.starting})` : "";
  const why = [explanation?.sentence, explanation?.blocked_by && `blocked by ${explanation.blocked_by}`];
  return row([
    cell(element("strong", pool.pool)), cell(load(pool.score)),
    cell(`${pool.ready}${coming}`, "n"), cell(pool.target, "n"),
    cell(`${pool.min}–${pool.max}`, "n"), cell(`${pool.busy_slots}/${pool.slots}`, "n"),
    cell(pool.queued, "n"), cell(why.filter(Boolean).join("; "), "why"),
    cell(orderButtons(pool)),
  ]);
}

function orderButtons(pool) {
  const both = element("span", null, "orders");
  const isHeld = pool.paused || pool.pinned !== null;
  const button = (name, act) => {
    const node = element("button", name);
    node.setAttribute("aria-label", `${name} ${pool.pool}`);
    node.addEventListener("click", act);
    both.append(node);
  };
  if (isHeld) button("Resume", async () => trouble(await change(pool.pool, { paused: false, pin: null })));
  else button("Pause", () => askOrder("pause", pool));
  button("Pin", () => askOrder("pin", pool));
  button("Bounds", () => askOrder("bounds", pool));
  return both;
}

/** Opens the form for an order; it is sent when the form is. */
function askOrder(kind, pool) {
  const form = byId("order");
  form.dataset.pool = pool.pool;
  form.dataset.kind = kind;
  byId("order-title").textContent = `${kind[0].toUpperCase()}${kind.slice(1)} ${pool.pool}`;
  byId("order-trouble").textContent = "";
  byId("order-pin").value = pool.pinned ?? pool.target;
  byId("order-min").value = pool.min;
  byId("order-max").value = pool.max;
  byId("order-pin-row").hidden = kind !== "pin";
  byId("order-pin").required = kind === "pin";
  byId("order-bounds-row").hidden = kind !== "bounds";
  byId("order-for").required = kind !== "bounds";
  byId("order-for").placeholder = kind === "bounds" ? "until changed" : "";
  byId("order-for").value = kind === "bounds" ? "" : "30m";
  byId("order-reason").value = "";
  byId("order-dialog").showModal();
}

/** Back to where the order began: the table was built anew meanwhile, so the button is another. */
function leaveOrder() {
  const { pool, kind } = byId("order").dataset;
  const button = (name) => byId("pools").querySelector(`[aria-label="${CSS.escape(`${name} ${pool}`)}"]`);
  (button(`${kind[0].toUpperCase()}${kind.slice(1)}`) ?? button("Resume"))?.focus();
}

/** A number of workers; none is what was configured, and not zero. */
function workers(id) {
  const text = byId(id).value;
  return text === "" ? null : Number(text);
}

async function sendOrder(event) {
  event.preventDefault();
  const { pool, kind } = byId("order").dataset;
  const body = {};
  if (kind === "pause") body.paused = true;
  if (kind === "pin") body.pin = workers("order-pin");
  if (kind === "bounds") {
    body.min = workers("order-min");
    body.max = workers("order-max");
  }
  const life = byId("order-for").value.trim();
  const reason = byId("order-reason").value.trim();
  if (life) body.for = life;
  if (reason) body.reason = reason;
  const refusal = await change(pool, body);
  if (refusal) byId("order-trouble").textContent = refusal;
  else byId("order-dialog").close();
}

/** Changes a pool; answers what was wrong, if anything. */
async function change(pool, body) {
  const response = await fetch(`/v1/pools/${encodeURIComponent(pool)}`, {
    method: "PATCH", headers: { "content-type": "application/json" }, body: JSON.stringify(body),
  }).catch(() => null);
  if (response?.ok) return null;
  const problem = response ? await response.json().catch(() => ({})) : {};
  return problem.detail || "the order was not taken";
}

const STATE_CLASS = { ready: "good", ok: "good", starting: "warn", draining: "warn", degraded: "warn",
  crashed: "bad", down: "bad" };

function workerRow(worker) {
  const button = element("button", "Drain");
  button.setAttribute("aria-label", `Drain ${worker.id}`);
  button.disabled = worker.state !== "ready";
  button.addEventListener("click", () => drain(worker.id, button));
  const cpu = worker.cpu_cores === null ? "–" : worker.cpu_cores.toFixed(2);
  return row([
    cell(worker.id), cell(worker.state, STATE_CLASS[worker.state]), cell(worker.node),
    cell(`${worker.busy}/${worker.slots}`, "n"), cell(worker.completed, "n"),
    cell(worker.panics, worker.panics ? "n bad" : "n"), cell(cpu, "n"),
    cell(new Date(worker.started_at).toLocaleTimeString()), cell(button),
  ]);
}

async function drain(id, button) {
  if (!confirm(`Drain ${id}? It finishes what it has; its pool starts another if it needs one.`)) return;
  button.disabled = true;
  const response = await fetch(`/v1/workers/${encodeURIComponent(id)}/drain`, { method: "POST" });
  if (!response.ok) {
    const problem = await response.json().catch(() => ({}));
    trouble(problem.detail || `the order was refused (${response.status})`);
  }
}

function fill(id, rows) {
  // The table is built anew; whoever is on a button stays on it.
  const focused = document.activeElement?.getAttribute("aria-label");
  byId(id).replaceChildren(...rows);
  const empty = byId(`${id}-empty`);
  if (empty) empty.hidden = rows.length > 0;
  if (focused) byId(id).querySelector(`[aria-label="${CSS.escape(focused)}"]`)?.focus();
}

/** Tells what is wrong; nothing is, with an empty text or none. */
function trouble(text) {
  byId("trouble").hidden = !text;
  byId("trouble").textContent = text ?? "";
}

function showStatus(status) {
  const parts = [`${status.version} (${status.commit})`, status.role, `up ${duration(status.uptime_s)}`];
  for (const [name, address] of Object.entries(status.addresses)) parts.push(`${name} ${address}`);
  if (status.draining) parts.push("going away");
  byId("process").textContent = parts.join(" · ");
  byId("components").replaceChildren(...status.components.map((part) => {
    const item = element("li");
    item.append(element("b", `${part.component} ${part.state}`, STATE_CLASS[part.state]), ` ${part.detail}`);
    return item;
  }));
}

async function refresh() {
  try {
    const [status, pools, workers] = await Promise.all(
      ["/v1/status", "/v1/pools", "/v1/workers"].map(fetchJson));
    const explained = pools.pools.slice(0, EXPLAINED_POOLS_MAX).map((pool) =>
      fetchJson(`/v1/pools/${encodeURIComponent(pool.pool)}/explain`).catch(() => null));
    const explanations = await Promise.all(explained);
    showStatus(status);
    fill("pools", pools.pools.map((pool, n) => poolRow(pool, explanations[n])));
    fill("workers", workers.workers.map(workerRow));
    trouble("");
  } catch (error) {
    trouble(`What is shown may be old: ${error.message}`);
  }
  setTimeout(refresh, REFRESH_MS);
}

function showEvent(event) {
  const item = element("li");
  const type = event.type.replace(/^io\.tidepool\./, "");
  const time = element("time", new Date(event.time).toLocaleTimeString());
  time.dateTime = event.time;
  const told = event.data?.sentence ?? JSON.stringify(event.data);
  item.append(time, element("b", type), event.subject ? `${event.subject}: ` : "", told);
  byId("events").prepend(item);
  byId("events-empty").hidden = true;
  while (byId("events").childElementCount > EVENTS_SHOWN_MAX) byId("events").lastElementChild.remove();
}

function follow(since) {
  const source = new EventSource(`/v1/events${since ? `?since=${encodeURIComponent(since)}` : ""}`);
  const say = (text) => { byId("stream").textContent = text; };
  source.onopen = () => say("live");
  source.onerror = () => {
    say(source.readyState === EventSource.CLOSED ? "refused; reload the page to try again" : "reconnecting…");
  };
  source.addEventListener("resync", () => say("live; some events were missed"));
  for (const type of EVENT_TYPES) {
    source.addEventListener(`io.tidepool.${type}`, (message) => showEvent(JSON.parse(message.data)));
  }
}

async function start() {
  byId("order").addEventListener("submit", sendOrder);
  byId("order-cancel").addEventListener("click", () => byId("order-dialog").close());
  byId("order-dialog").addEventListener("close", leaveOrder);
  refresh();
  let last;
  try {
    const recent = await fetchJson("/v1/events?limit=50");
    recent.forEach(showEvent);
    last = recent.at(-1)?.id;
  } catch (error) {
    trouble(`The recent events cannot be read: ${error.message}`);
  }
  follow(last);
}

start();
