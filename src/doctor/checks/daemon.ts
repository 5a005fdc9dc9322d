import { parseConfig } from "../../config/load.ts";
import type { Check, DoctorContext } from "../check.ts";
import { catalogue, type Finding } from "../finding.ts";
import type { CriStatus } from "../host.ts";

const kinds = catalogue("daemon", {
  fine: ["ok", ""],
  recovering: [
    "note",
    "the daemon is restoring pods and containers; calls wait until it has finished",
  ],
  "not-ready": ["error", "kubelet reports the node as NotReady, and no pods are scheduled to it"],
  "network-not-ready": [
    "error",
    "kubelet reports the node as NotReady and runs only host network pods",
  ],
  "records-set-aside": [
    "warning",
    "these records are corrupt: davit does not manage their pods and containers",
  ],
  "records-owed": ["warning", "these changes are not written yet: a restart now would lose them"],
  "records-unwritable": [
    "error",
    "davit cannot create, start or remove pods and containers without writing records",
  ],
  "network-removals-pending": ["warning", "addresses and rules of removed pods stay in use"],
  "removals-unfinished": ["warning", "parts of these pods or containers cannot be removed"],
  "ends-failed": ["warning", "kubelet retries, and the pod stays until it can be stopped"],
  "request-stuck": ["warning", "it blocks its pod or container"],
  "requests-failed": ["note", "kubelet retries; pods may be missing until a retry succeeds"],
  "other-version": ["note", "the daemon still runs the version that it was started with"],
  "cadvisor-not-served": [
    "note",
    "without the feature gate PodAndContainerStatsFromCRI, kubelet's metrics have neither the names nor the network of pods",
  ],
  "nri-plugins": [
    "note",
    "they are told about pods and containers, and can change them as root can",
  ],
  "nri-plugin-lost": [
    "warning",
    "pods and containers are made without this plugin until it runs again; see docs/nri.md",
  ],
  "nri-plugin-refused": ["warning", "a plugin of the node rejects pods or containers"],
  "nri-not-listening": ["warning", "plugins of the node (NRI) cannot connect to davit"],
  "layer-verity-off": [
    "note",
    "damage to the file of an EROFS layer is found by a deep check only, and not when it is read",
  ],
  "configuration-changed": [
    "note",
    "the daemon still uses the configuration that it read at its start",
  ],
});

/** Older requests have exceeded kubelet's timeout. */
const stuckMs = 240_000;

/** Failures are reported for this long. */
const recentMs = 600_000;

/** The verbose Status of a running daemon. */
export const daemonCheck: Check = {
  group: kinds.group,
  title: "The running daemon",
  catalogue: kinds,
  examine: async (context: DoctorContext) => {
    const { host, config, skip } = context;
    const path = config.server.listen;
    if (
      (await host.fileInfo(path))?.kind !== "socket" ||
      (await host.probeConnect(path)) !== "open"
    ) {
      skip("daemon: not running, or not reachable");
      return [];
    }
    const answer = await host.criStatus(path);
    if (answer.version !== undefined && answer.version.runtimeName !== "davit") {
      skip("daemon: the socket belongs to another runtime");
      return [];
    }
    if (answer.recovering === true)
      return [kinds.report("recovering", "the daemon is not ready yet")];
    if (answer.status === undefined) return []; // the check of the sockets reports it
    const found = [
      ...conditions(answer),
      ...pendingWork(answer),
      ...failures(answer, host.nowMs()),
      ...cadvisor(answer),
      ...plugins(answer, host.nowMs()),
      ...layerVerity(answer),
      ...differences(context, answer),
    ];
    if (found.some(({ severity }) => severity !== "note")) return found;
    const counts = readInfo(answer, "records");
    return [kinds.report("fine", `ready${describeCounts(counts)}`), ...found];
  },
};

function conditions({ status }: CriStatus): readonly Finding[] {
  const bad = (status?.status?.conditions ?? []).filter((condition) => !condition.status);
  return bad.map(({ type, reason, message }) => {
    const text = [type, reason, message].filter((part) => part !== "").join(": ");
    return type === "NetworkReady"
      ? kinds.report("network-not-ready", text, "see the findings about the pod network")
      : kinds.report("not-ready", text, "see davit's log");
  });
}

function layerVerity(answer: CriStatus): readonly Finding[] {
  const [format, why] = [readInfo(answer, "layerFormat"), readInfo(answer, "layerVerity")];
  if (format !== "erofs" || typeof why !== "string" || why === "on") return [];
  const fix = 'see "Store layers as EROFS images" in docs/operations.md';
  return [kinds.report("layer-verity-off", why, fix)];
}

function pendingWork(answer: CriStatus): readonly Finding[] {
  const found: Finding[] = [];
  if (readInfo(answer, "recordsCanBeWritten") === false) {
    const fix = "see the findings about the disk; restart davit when root is writable";
    found.push(kinds.report("records-unwritable", "the database cannot be written", fix));
  }
  const setAside = listOf(readInfo(answer, "recordsSetAside"));
  if (setAside.length > 0) {
    const fix =
      "kill the processes that belong to them (ps, systemd-cgls), stop davit, run DELETE FROM set_aside in " +
      "davit.db below root (sqlite3), and start davit, which removes the rest";
    found.push(kinds.report("records-set-aside", summarize(setAside), fix));
  }
  const unwritten = listOf(readInfo(answer, "recordsOwed"));
  if (unwritten.length > 0) {
    found.push(
      kinds.report(
        "records-owed",
        summarize(unwritten),
        "free space on the file system of root; davit retries",
      ),
    );
  }
  const removals = listOf(readInfo(answer, "pendingNetworkRemovals"));
  for (const item of removals) {
    const { sandboxId, tries, lastError } = asTable(item);
    const text = `network of sandbox ${String(sandboxId)} not removed after ${String(tries)} tries: ${String(lastError)}`;
    const fix = "fix the error of the plugin; davit retries";
    found.push(kinds.report("network-removals-pending", text, fix));
  }
  const unfinished = listOf(readInfo(answer, "unfinishedRemovals"));
  if (unfinished.length > 0) {
    const fix = "see davit's log for the reason; davit retries";
    found.push(kinds.report("removals-unfinished", summarize(unfinished), fix));
  }
  for (const item of listOf(readInfo(answer, "failedEnds"))) {
    const { subject, tries, since, lastError } = asTable(item);
    const text = `${String(subject)} not stopped since ${String(since)} after ${String(tries)} tries: ${String(lastError)}`;
    const fix =
      "fix the error; a process in state D waits for a disk or a network mount: fix that, or reboot the node";
    found.push(kinds.report("ends-failed", text, fix));
  }
  for (const item of listOf(readInfo(answer, "inflight"))) {
    const { operation, subject, stage, ageMs } = asTable(item);
    if (typeof ageMs !== "number" || ageMs < stuckMs) continue;
    const text = `${String(operation)} of ${String(subject)} has been running for ${Math.round(ageMs / 1000)} s, in stage ${String(stage)}`;
    found.push(
      kinds.report(
        "request-stuck",
        text,
        "see davit inflight for the stage, and davit's log for the reason",
      ),
    );
  }
  return found;
}

function failures(answer: CriStatus, nowMs: number): readonly Finding[] {
  const recent = listOf(readInfo(answer, "lastFailures"))
    .map(asTable)
    .filter(({ startedMs }) => typeof startedMs === "number" && startedMs > nowMs - recentMs);
  const last = recent.at(-1);
  if (last === undefined) return [];
  const which = `${String(last["operation"])} of ${String(last["subject"])}`;
  const text = `${recent.length} failed in the last ${recentMs / 60_000} minutes; the last one: ${which}: ${String(last["error"])}`;
  return [kinds.report("requests-failed", text, "davit why NAME shows the history of an object")];
}

function differences(
  { version, config, configFile, configProblems }: DoctorContext,
  answer: CriStatus,
): readonly Finding[] {
  const found: Finding[] = [];
  const running = answer.version?.runtimeVersion ?? version;
  if (running !== version) {
    const text = `the daemon runs version ${running}, this command is version ${version}`;
    found.push(kinds.report("other-version", text, "systemctl restart davit; pods keep running"));
  }
  const loaded = readInfo(answer, "config");
  if (loaded === undefined || configProblems.length > 0) return found;
  const keys = differingKeys(JSON.parse(JSON.stringify(config)), loaded);
  if (keys.length > 0) {
    const text = `the daemon's settings differ from ${configFile ?? "the defaults"}: ${keys.join(", ")}`;
    const fix =
      "davit reload, which names what needs a restart, or pass the daemon's file with --config";
    found.push(kinds.report("configuration-changed", text, fix));
  }
  return found;
}

/** The top-level keys and tables of two configurations that differ. */
function differingKeys(ours: unknown, theirs: unknown): readonly string[] {
  const [left, right] = [asTable(ours), asTable(theirs)];
  const known = Object.keys(asTable(JSON.parse(JSON.stringify(parseConfig("", "the defaults")))));
  return known.filter((key) => canonical(left[key]) !== canonical(right[key]));
}

function asTable(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}

/** Nothing for `cadvisor.serve = "never"`, which somebody chose. */
function cadvisor(answer: CriStatus): readonly Finding[] {
  const { served, socket, reason } = asTable(readInfo(answer, "cadvisor"));
  if (served !== false) return [];
  const text = `not serving cAdvisor at ${String(socket)}: ${String(reason)}`;
  const fix =
    "set cadvisor.listen to another path and start kubelet with --containerd=PATH, or enable the gate (docs/operations.md)";
  return [kinds.report("cadvisor-not-served", text, fix)];
}

/**
 * The plugins of the node. Of each one that failed lately, the last failure; of one that davit started and lost, for
 * as long as it is lost.
 */
function plugins(answer: CriStatus, nowMs: number): readonly Finding[] {
  const nri = asTable(readInfo(answer, "nri"));
  const found: Finding[] = [];
  if (typeof nri["notListening"] === "string") {
    const text = `no plugin can connect to ${String(nri["socket"])}: ${nri["notListening"]}`;
    const fix = "stop the other runtime that uses it, or set nri.socket_path; restart davit";
    found.push(kinds.report("nri-not-listening", text, fix));
  }
  const names = listOf(nri["plugins"]).map((plugin) => String(asTable(plugin)["name"]));
  const recent = listOf(nri["failures"])
    .map(asTable)
    .filter(
      ({ atMs, dropped, external }) =>
        (typeof atMs === "number" && atMs > nowMs - recentMs) ||
        (dropped === true && external === false),
    )
    .filter(({ plugin, dropped }) => dropped !== true || !names.includes(String(plugin)));
  const last = new Map(recent.map((failure) => [String(failure["plugin"]), failure]));
  for (const failure of last.values()) {
    const text = describePluginFailure(failure);
    const again =
      failure["external"] === false ? "restart davit, which starts it" : "start it again";
    found.push(
      failure["dropped"] === true
        ? kinds.report("nri-plugin-lost", text, `see the plugin's log; fix it and ${again}`)
        : kinds.report("nri-plugin-refused", text, "see the plugin's log, or stop the plugin"),
    );
  }
  if (names.length === 0) return found;
  return [...found, kinds.report("nri-plugins", `plugins of the node (NRI): ${names.join(", ")}`)];
}

/** Which plugin, at which event of which pod or container, and why. */
function describePluginFailure(failure: Readonly<Record<string, unknown>>): string {
  const { plugin, event, sandbox, container, reason } = failure;
  const words = [`plugin ${String(plugin)}`];
  if (typeof event === "string") words.push(`at ${event}`);
  if (typeof container === "string") words.push(`of container ${container}`);
  else if (typeof sandbox === "string") words.push(`of pod ${sandbox}`);
  return `${words.join(" ")}: ${String(reason)}`;
}

/** JSON with sorted keys. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (typeof value !== "object" || value === null)
    return value === undefined ? "" : JSON.stringify(value);
  const table = asTable(value);
  const keys = Object.keys(table).sort();
  return `{${keys.map((key) => `${key}:${canonical(table[key])}`).join(",")}}`;
}

function readInfo({ status }: CriStatus, key: string): unknown {
  const text = status?.info[key];
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

/** The first items of a list, in one line. */
function summarize(items: readonly unknown[]): string {
  const words = items.map((item) => (typeof item === "string" ? item : JSON.stringify(item)));
  const more = words.length > 3 ? ` and ${words.length - 3} more` : "";
  return `${words.slice(0, 3).join("; ")}${more}`;
}

function describeCounts(counts: unknown): string {
  const table = asTable(counts);
  const words = ["sandboxes", "containers", "images"]
    .filter((name) => typeof table[name] === "number")
    .map((name) => `${String(table[name])} ${name}`);
  return words.length === 0 ? "" : `: ${words.join(", ")}`;
}
