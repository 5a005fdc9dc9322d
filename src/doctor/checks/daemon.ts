import { parseConfig } from "../../config/load.ts";
import { type Check, type DoctorContext } from "../check.ts";
import { catalogue, type Finding } from "../finding.ts";
import type { CriAnswer } from "../host.ts";

const kinds = catalogue("daemon", {
  fine: ["ok", ""],
  recovering: ["note", "it takes up what the last daemon left, and then serves"],
  "not-ready": ["error", "kubelet puts no pods on this node"],
  "network-not-ready": ["error", "kubelet puts no pods on this node but those of the host network"],
  "records-set-aside": ["warning", "these records could not be read: davit knows nothing of them"],
  "records-owed": [
    "warning",
    "these changes could not be written: a restart now would forget them",
  ],
  "records-unwritable": [
    "error",
    "davit can make, start and remove nothing while it cannot note it",
  ],
  "network-removals-pending": ["warning", "addresses and rules of pods that are gone stay taken"],
  "removals-unfinished": ["warning", "something of these pods or containers cannot be taken down"],
  "ends-failed": ["warning", "kubelet asks again and again, and the pod stays until it ends"],
  "request-stuck": ["warning", "it holds up the pod or container that it is about"],
  "requests-failed": ["note", "kubelet asks again; pods that it asked for may be missing"],
  "other-version": ["note", "the daemon goes on with the program that it was started from"],
  "configuration-changed": ["note", "the daemon goes on with what it read when it started"],
});

/** A request that is older than the time which kubelet gives it. */
const stuckMs = 240_000;

/** Failures of that time are told. */
const recentMs = 600_000;

/** What a running daemon says of itself: its verbose Status. */
export const daemonCheck: Check = {
  group: kinds.group,
  title: "The running daemon",
  catalogue: kinds,
  examine: async (subject: DoctorContext) => {
    const { host, config, leaveOut } = subject;
    const path = config.server.listen;
    if (
      (await host.fileInfo(path))?.kind !== "socket" ||
      (await host.probeConnect(path)) !== "open"
    ) {
      leaveOut("daemon: none runs, or it cannot be reached");
      return [];
    }
    const answer = await host.askCri(path);
    if (answer.version !== undefined && answer.version.runtimeName !== "davit") {
      leaveOut("daemon: another server answers");
      return [];
    }
    if (answer.recovering === true) return [kinds.report("recovering", "not ready yet")];
    if (answer.status === undefined) return []; // what the sockets say of it is enough
    const found = [
      ...conditions(answer),
      ...debts(answer),
      ...failures(answer, host.nowMs()),
      ...differences(subject, answer),
    ];
    if (found.some(({ severity }) => severity !== "note")) return found;
    const counts = readInfo(answer, "records");
    return [kinds.report("fine", `ready${describeCounts(counts)}`), ...found];
  },
};

function conditions({ status }: CriAnswer): readonly Finding[] {
  const bad = (status?.status?.conditions ?? []).filter((condition) => !condition.status);
  return bad.map(({ type, reason, message }) => {
    const text = [type, reason, message].filter((part) => part !== "").join(": ");
    return type === "NetworkReady"
      ? kinds.report("network-not-ready", text, "see what the checks of the network say")
      : kinds.report("not-ready", text, "look at davit's log");
  });
}

function debts(answer: CriAnswer): readonly Finding[] {
  const found: Finding[] = [];
  if (readInfo(answer, "recordsCanBeWritten") === false) {
    const fix = "see what the checks of the disk say; restart davit when root can be written";
    found.push(kinds.report("records-unwritable", "its database cannot be written", fix));
  }
  const setAside = listOf(readInfo(answer, "recordsSetAside"));
  if (setAside.length > 0) {
    const fix =
      "end what still runs of them (ps, systemd-cgls), stop davit, DELETE FROM set_aside in the " +
      "davit.db of its root (sqlite3), start it: it sweeps the rest";
    found.push(kinds.report("records-set-aside", tell(setAside), fix));
  }
  const owed = listOf(readInfo(answer, "recordsOwed"));
  if (owed.length > 0) {
    found.push(
      kinds.report("records-owed", tell(owed), "make room on the disk of root; davit tries on"),
    );
  }
  const removals = listOf(readInfo(answer, "pendingNetworkRemovals"));
  for (const item of removals) {
    const { sandboxId, tries, lastError } = asTable(item);
    const text = `${String(sandboxId)}, ${String(tries)} tries: ${String(lastError)}`;
    const fix = "davit tries on; fix what the plugin says";
    found.push(kinds.report("network-removals-pending", text, fix));
  }
  const unfinished = listOf(readInfo(answer, "unfinishedRemovals"));
  if (unfinished.length > 0) {
    const fix = "davit tries on; its log says what is in the way";
    found.push(kinds.report("removals-unfinished", tell(unfinished), fix));
  }
  for (const item of listOf(readInfo(answer, "failedEnds"))) {
    const { subject, tries, since, lastError } = asTable(item);
    const text = `${String(subject)} does not end since ${String(since)}, ${String(tries)} tries: ${String(lastError)}`;
    const fix =
      "fix what it says; a process in state D waits for a disk or a network mount: fix that, or reboot the node";
    found.push(kinds.report("ends-failed", text, fix));
  }
  for (const item of listOf(readInfo(answer, "inflight"))) {
    const { operation, subject, stage, ageMs } = asTable(item);
    if (typeof ageMs !== "number" || ageMs < stuckMs) continue;
    const text = `${String(operation)} of ${String(subject)} is at ${String(stage)} for ${Math.round(ageMs / 1000)} s`;
    found.push(
      kinds.report("request-stuck", text, "davit inflight shows where; the log shows why"),
    );
  }
  return found;
}

function failures(answer: CriAnswer, nowMs: number): readonly Finding[] {
  const recent = listOf(readInfo(answer, "lastFailures"))
    .map(asTable)
    .filter(({ startedMs }) => typeof startedMs === "number" && startedMs > nowMs - recentMs);
  const last = recent.at(-1);
  if (last === undefined) return [];
  const which = `${String(last["operation"])} of ${String(last["subject"])}`;
  const text = `${recent.length} in the last ${recentMs / 60_000} minutes, the last: ${which}: ${String(last["error"])}`;
  return [kinds.report("requests-failed", text, "davit why NAME tells more of one")];
}

function differences(
  { version, config, configFile, configProblems }: DoctorContext,
  answer: CriAnswer,
): readonly Finding[] {
  const found: Finding[] = [];
  const running = answer.version?.runtimeVersion ?? version;
  if (running !== version) {
    const text = `the daemon is davit ${running}, this is ${version}`;
    found.push(kinds.report("other-version", text, "systemctl restart davit; pods go on"));
  }
  const loaded = readInfo(answer, "config");
  if (loaded === undefined || configProblems.length > 0) return found;
  const keys = differingKeys(JSON.parse(JSON.stringify(config)), loaded);
  if (keys.length > 0) {
    const text = `${keys.join(", ")} in ${configFile ?? "the defaults"} and in the daemon`;
    const fix = "systemctl restart davit; or name the daemon's file with --config";
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

/** JSON with the keys in order. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (typeof value !== "object" || value === null)
    return value === undefined ? "" : JSON.stringify(value);
  const table = asTable(value);
  const keys = Object.keys(table).sort();
  return `{${keys.map((key) => `${key}:${canonical(table[key])}`).join(",")}}`;
}

function readInfo({ status }: CriAnswer, key: string): unknown {
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

/** The first few of a list, for a sentence. */
function tell(items: readonly unknown[]): string {
  const words = items.map((item) => (typeof item === "string" ? item : JSON.stringify(item)));
  const more = words.length > 3 ? ` and ${words.length - 3} more` : "";
  return `${words.slice(0, 3).join("; ")}${more}`;
}

function describeCounts(counts: unknown): string {
  const table = asTable(counts);
  const words = ["sandboxes", "containers", "images"]
    .filter((name) => typeof table[name] === "number")
    .map((name) => `${String(table[name])} ${name}`);
  return words.length === 0 ? "" : `, on record: ${words.join(", ")}`;
}
