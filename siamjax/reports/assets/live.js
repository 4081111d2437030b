// The page of the monitor: each session over the last hour, what is wrong, and the source.
const { sessions, sources, heartbeat, end_s: whole_s } = data.live;
const alarms = sessions.filter((row) => row.is_alarm);
const clock = (time) => time.slice(11, 19);

const state = section("state", "Now");
state.append(el("p", {}, data.live.source_is_up
  ? `Packets come from ${data.live.source}. The last one was at ${clock(data.live.now)} UTC.`
  : `No packets come from ${data.live.source} since ${clock(data.live.now)} UTC.`));
for (const row of alarms) {
  state.append(el("p", {}, el("b", {}, row.session || "all traffic"), row.network ? ` (${row.network})` : "", `: ${row.summary}`,
    row.last.action ? `. Action: ${row.last.action}` : ""));
}
if (!alarms.length) state.append(el("p", {}, sessions.length
  ? `No alarm in ${sessions.length} session${sessions.length > 1 ? "s" : ""}.`
  : "No session has a verdict yet."));

if (sessions.length) {
  const name = namer(sessions.map((row) => row.session), 40);
  const shown = new Set(sessions.flatMap((row) => row.spans.map((span) => span.condition)));
  section("timelines", "The last hour", "Each session over time. Point at a stretch for its distance and nearest example.")
    .append(el("p", { class: "keys" }, ...[...shown].map(key)),
      el("div", {}, hours(), ...sessions.map((row) => timeline(
        { capture: row.session, network: row.network, right: null, truth: [], found: row.spans,
          warning: row.last.calibrated ? "" : "not calibrated: no alarm is raised (see siamjax adapt)" },
        name(row.session) || "all traffic", whole_s))));
}

if (heartbeat) {
  const facts = [["packets", heartbeat.packets], ["messages", heartbeat.messages], ["windows", heartbeat.windows],
    ["lost before the monitor", heartbeat.dropped], ["left out for lack of time", heartbeat.shed],
    ["lag", `${number(heartbeat.lag_s)} s`], ["memory", `${(heartbeat.memory_bytes / 1e6).toFixed(0)} MB`],
    ...Object.entries(heartbeat.not_read).map(([cause, count]) => [`not read: ${cause}`, count])];
  section("source", "The source", `As of the heartbeat at ${clock(heartbeat.time)} UTC.`).append(
    scrolling(el("table", {}, ...facts.map(([fact, count]) =>
      el("tr", {}, el("th", { scope: "row" }, fact), el("td", {}, String(count)))))),
    ...sources.slice(0, 10).map((event) => el("p", {}, `${clock(event.time)} UTC: ${event.detail}`)));
}

// The time of day above the sessions, at round minutes or seconds.
function hours() {
  const first = Date.parse(data.live.first), every = [1, 5, 10, 30, 60, 300, 600].find((s) => s >= whole_s / 7) ?? 600;
  const ticks = [], begin = every * Math.ceil(first / 1000 / every);
  for (let s = begin; s - first / 1000 < 0.97 * whole_s; s += every)
    ticks.push(el("span", { style: `left: ${(100 * (s - first / 1000)) / whole_s}%` },
      new Date(1000 * s).toISOString().slice(11, every < 60 ? 19 : 16)));
  return el("div", { class: "lane" }, el("div", {}), el("div", { class: "ticks" }, ...ticks));
}
