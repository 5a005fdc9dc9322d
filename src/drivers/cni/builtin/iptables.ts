import { isKind, RuntimeError } from "../../../base/errors.ts";
import { KeyedLock } from "../../../base/keyed-lock.ts";
import { SystemError } from "../../../base/system-error.ts";
import { run } from "../../../linux/process/index.ts";
import { removeFromNft } from "./nft-removal.ts";
import { parseSavedTable, type Rule, ruleLine, type SavedTable } from "./rule-text.ts";

/** 4 for iptables, 6 for ip6tables. */
export type Family = 4 | 6;

/** A rule that is shared by all containers. */
export interface SharedRule extends Rule {
  /** Before all other rules of its chain instead of after them. */
  readonly first?: boolean;
}

/** Rules to be there, in one table. */
export interface Addition {
  readonly family: Family;
  readonly table: "nat" | "filter";
  /** Chains and rules that are made if they are missing, and never removed. */
  readonly sharedChains: readonly string[];
  readonly shared: readonly SharedRule[];
  /** The chain of the container. */
  readonly chain?: string;
  /** The rules of the container, in its chain or not: appended, those that are there already left out. */
  readonly rules: readonly Rule[];
}

/** Rules to be gone, in one table. */
export interface Removal {
  readonly family: Family;
  readonly table: "nat" | "filter";
  /** The chains of the container. Every rule of `referring` that jumps to one of them goes, too. */
  readonly chains: readonly [string, ...string[]];
  /** The chains that can have rules that jump to those. */
  readonly referring: readonly string[];
  /**
   * The rules outside of the container's first chain that ADD made, when a record says that it succeeded. They are removed
   * together with this chain, in one transaction, if nothing else has changed.
   */
  readonly recorded?: readonly Rule[];
}

/** Runs a program to its end. `file` is a name that is looked up on PATH. */
export type RunProgram = (call: {
  readonly file: string;
  readonly args: readonly string[];
  readonly input?: string;
  readonly signal: AbortSignal;
}) => Promise<{ readonly code: number | null; readonly stdout: string; readonly stderr: string }>;

const programMs = 60_000;
// The rules of a node with 10,000 services have some MiB.
const maxOutputBytes = 256 << 20;
const systemPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const tries = 3;
/** The exit code of both backends for -C without such a rule. Others are for bad arguments and a lack of resources. */
const missingRuleCode = 1;

/** Runs a program on this machine with the PATH that plugins get, so that both use the same iptables. */
export const runOnHost: RunProgram = async ({ file, args, input, signal }) => {
  const { code, stdout, stderr } = await run({
    file,
    args,
    env: { PATH: process.env["PATH"] ?? systemPath, LC_ALL: "C" },
    ...(input !== undefined && { input }),
    killGroup: true,
    timeoutMs: programMs,
    maxOutputBytes,
    signal,
  }).catch((error: unknown) => {
    // Another file that is missing has the code of a system call.
    if (!isKind(error, "not-found") || error instanceof SystemError) throw error;
    // Not `not-found`, which means to kubelet that the pod does not exist.
    const text = `run ${file}: the program is missing; install the package ${packageOf(file)}`;
    throw new RuntimeError("failed-precondition", text, { cause: error });
  });
  return { code, stdout: stdout.toString("utf8"), stderr: stderr.toString("utf8") };
};

function packageOf(file: string): string {
  return file === "nft" ? "nftables" : "iptables";
}

/**
 * Changes of rules as the CNI plugins make them, whichever backend iptables has, in as few processes as possible: a
 * first iptables-restore states what should be there already and fails as a whole if it is not. Only then what is
 * there is read. What nftables has is removed without a process.
 */
export class Iptables {
  readonly #run: RunProgram;
  readonly #removeFromNft: typeof removeFromNft;
  /** False once iptables has removed what could not be removed from nftables. */
  #mayBeNft = true;
  // Two that read and then write would both make what is shared.
  readonly #reading = new KeyedLock();

  constructor(run: RunProgram = runOnHost, fromNft = removeFromNft) {
    this.#run = run;
    this.#removeFromNft = fromNft;
  }

  /**
   * Makes the rules in one transaction. `doing` begins the message of an error. With `mayExist`, rules of the
   * container may be there already, although it has no chain that says so.
   */
  async add(
    doing: string,
    addition: Addition,
    signal: AbortSignal,
    mayExist = false,
  ): Promise<void> {
    const { family, table, shared, chain, rules } = addition;
    const lines = [
      ...shared.map((rule) => ruleLine("-C", rule)),
      ...(chain === undefined ? [] : [`-N ${chain}`]),
      ...rules.map((rule) => ruleLine("-A", rule)),
    ];
    if (!mayExist && (await this.#restore(family, table, lines, signal)) === undefined) return;
    using _lock = await this.#reading.acquire(`${family} ${table}`, signal);
    await this.#again(doing, family, async () => {
      const missing = await this.#missing(doing, addition, signal);
      return missing.length === 0 ? undefined : this.#restore(family, table, missing, signal);
    });
  }

  /** Removes the rules in one transaction. What is not there is left out. */
  async remove(doing: string, removal: Removal, signal: AbortSignal): Promise<void> {
    const { family, table, chains, recorded } = removal;
    if (recorded !== undefined) {
      const isGone = await this.#removedFromNft(removal);
      if (isGone === true) return;
      const lines = [
        ...recorded.map((rule) => ruleLine("-D", rule)),
        `-F ${chains[0]}`,
        `-X ${chains[0]}`,
      ];
      if ((await this.#restore(family, table, lines, signal)) === undefined) {
        if (isGone === false) this.#mayBeNft = false;
        return;
      }
    }
    await this.#again(doing, family, async () => {
      const lines = removalLines(await this.#save(doing, family, table, signal), removal);
      return lines.length === 0 ? undefined : this.#restore(family, table, lines, signal);
    });
  }

  /** False if iptables has to do it. Undefined if it was only disturbed: then the next removal can be tried again. */
  async #removedFromNft({
    family,
    table,
    chains,
    referring,
  }: Removal): Promise<boolean | undefined> {
    if (!this.#mayBeNft) return undefined;
    const nft = { family, name: table };
    return this.#removeFromNft(nft, chains[0], referring).catch((error: unknown) =>
      isKind(error, "unavailable") ? undefined : false,
    );
  }

  /** Removes rules of chains that stay, each if it is there. */
  async removeRules(
    doing: string,
    family: Family,
    table: "nat" | "filter",
    rules: readonly Rule[],
    signal: AbortSignal,
  ): Promise<void> {
    const lines = rules.map((rule) => ruleLine("-D", rule));
    if ((await this.#restore(family, table, lines, signal)) === undefined) return;
    for (const line of lines) {
      const failure = await this.#restore(family, table, [line], signal);
      // Such as a lack of resources: the rule is still there, and would be for the next pod with its address.
      if (failure !== undefined && failure.code !== missingRuleCode) {
        throw failed(doing, restoreProgram(family), failure);
      }
    }
  }

  /** The rules of a chain, as `-A CHAIN ...`; none if there is no such chain. */
  async rulesOf(
    family: Family,
    table: "nat" | "filter",
    chain: string,
    signal: AbortSignal,
  ): Promise<readonly string[]> {
    const file = family === 4 ? "iptables" : "ip6tables";
    const args = ["--wait", "-t", table, "-S", chain];
    const { code, stdout } = await this.#run({ file, args, signal });
    return code === 0 ? parseSavedTable(stdout).rules : [];
  }

  async #save(
    doing: string,
    family: Family,
    table: "nat" | "filter",
    signal: AbortSignal,
  ): Promise<SavedTable> {
    const file = family === 4 ? "iptables-save" : "ip6tables-save";
    const { code, stdout, stderr } = await this.#run({ file, args: ["-t", table], signal });
    if (code !== 0) throw failed(doing, file, { code, stderr });
    return parseSavedTable(stdout);
  }

  async #again(
    doing: string,
    family: Family,
    change: () => Promise<Failure | undefined>,
  ): Promise<void> {
    let failure = await change();
    // Another process may have changed the same between reading and writing.
    for (let n = 1; n < tries && failure !== undefined; n++) failure = await change();
    if (failure !== undefined) throw failed(doing, restoreProgram(family), failure);
  }

  async #missing(
    doing: string,
    addition: Addition,
    signal: AbortSignal,
  ): Promise<readonly string[]> {
    const { family, table, sharedChains, shared, chain, rules } = addition;
    const { chains } = await this.#save(doing, family, table, signal);
    const own = chain === undefined ? [] : [chain];
    const made = [...sharedChains, ...own].filter((name) => !chains.has(name));
    // What refers to a chain that does not exist is not there either. Only iptables itself can say whether rules are equal.
    const refersToMade = ({ chain: at, args }: Rule): boolean =>
      made.includes(at) || args.some((arg, n) => args[n - 1] === "-j" && made.includes(arg));
    const isMissing = async (rule: Rule): Promise<boolean> => {
      if (refersToMade(rule)) return true;
      const failure = await this.#restore(family, table, [ruleLine("-C", rule)], signal);
      if (failure === undefined || failure.code === missingRuleCode) return failure !== undefined;
      // Not an answer: the rule would be made again each time.
      throw failed(doing, restoreProgram(family), failure);
    };
    const lines = made.map((name) => `-N ${name}`);
    for (const rule of shared) {
      if (await isMissing(rule)) lines.push(ruleLine(rule.first === true ? "-I" : "-A", rule));
    }
    for (const rule of rules) if (await isMissing(rule)) lines.push(ruleLine("-A", rule));
    return lines;
  }

  async #restore(
    family: Family,
    table: string,
    lines: readonly string[],
    signal: AbortSignal,
  ): Promise<Failure | undefined> {
    const input = [`*${table}`, ...lines, "COMMIT", ""].join("\n");
    const args = ["--noflush", "--wait"];
    const file = restoreProgram(family);
    const { code, stderr } = await this.#run({ file, args, input, signal });
    return code === 0 ? undefined : { code, stderr };
  }
}

interface Failure {
  readonly code: number | null;
  readonly stderr: string;
}

function restoreProgram(family: Family): string {
  return family === 4 ? "iptables-restore" : "ip6tables-restore";
}

function failed(doing: string, file: string, { code, stderr }: Failure): RuntimeError {
  const said = stderr.trim().replace(/\s+/g, " ").slice(0, 500);
  const text = `${doing}: ${file} exited with code ${code ?? "none"}: ${said}`;
  return new RuntimeError("failed-precondition", text);
}

function removalLines(saved: SavedTable, { chains, referring }: Removal): readonly string[] {
  const here = chains.filter((chain) => saved.chains.has(chain));
  const references = saved.rules.filter(
    (rule) =>
      referring.some((chain) => rule.startsWith(`-A ${chain} `)) &&
      here.some((chain) => rule.endsWith(` -j ${chain}`)),
  );
  return [
    ...references.map((rule) => rule.replace(/^-A/, "-D")),
    ...here.flatMap((chain) => [`-F ${chain}`, `-X ${chain}`]),
  ];
}

/** Runs `change` for all items at once. When this returns, none runs any more. */
export async function inParallel<T>(
  items: readonly T[],
  change: (item: T) => Promise<void>,
): Promise<void> {
  const results = await Promise.allSettled(items.map(change));
  const rejected = results.find((result) => result.status === "rejected");
  if (rejected !== undefined) throw rejected.reason;
}

/** For both families. One of them may be missing on a node, and then nothing of it was made. */
export async function forEither(remove: (family: Family) => Promise<void>): Promise<void> {
  const results = await Promise.allSettled(([4, 6] as const).map(remove));
  const rejected = results.filter((result) => result.status === "rejected");
  const [first] = rejected;
  if (first !== undefined && rejected.length === results.length) throw first.reason;
}
