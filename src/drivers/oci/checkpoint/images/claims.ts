import { imageEntries, type ImageKind, invalid } from "./image-file.ts";
import { ImageMessage } from "./message.ts";

/** The kinds of namespaces, with their fields in task_kobj_ids_entry (criu, images/core.proto). */
const namespaceFields = { pid: 5, network: 6, ipc: 7, uts: 8, mount: 9, user: 10 } as const;

/** A kind of namespaces, as in the OCI spec. */
export type ClaimedNamespace = keyof typeof namespaceFields;

/** What a thread is to be restored with. */
export interface ClaimedThread {
  readonly comm: string;
  readonly uids: readonly number[];
  readonly gids: readonly number[];
  /** As bits. */
  readonly capabilities: {
    readonly inheritable: bigint;
    readonly permitted: bigint;
    readonly effective: bigint;
    readonly bounding: bigint;
    readonly ambient: bigint;
  };
  readonly noNewPrivileges: boolean;
  /** It has a seccomp filter, of its own or by the first thread of its process. */
  readonly isFiltered: boolean;
  /** Label of SELinux or profile of AppArmor. */
  readonly label: string;
}

/** A mount that is to be restored. */
export interface ClaimedMount {
  readonly mountpoint: string;
  /** CRIU's number of the file system (criu, images/mnt.proto). */
  readonly fileSystem: number;
  /** The directory of the file system that is mounted; "/" for all of it. */
  readonly root: string;
  /** The name by which the OCI runtime gives its source; undefined if CRIU makes it. */
  readonly external: string | undefined;
  /** MS_RDONLY and others (mount(2)). */
  readonly flags: number;
}

/** A range of ids in a user namespace. */
export interface ClaimedIds {
  readonly containerID: number;
  readonly hostID: number;
  readonly size: number;
}

/** What the images of a container say that matters for the safety of the node. */
export interface ImageClaims {
  readonly threads: readonly ClaimedThread[];
  readonly mounts: readonly ClaimedMount[];
  /** The kinds of namespaces in which at least one process is that of CRIU, and so of the node. */
  readonly nodeNamespaces: ReadonlySet<ClaimedNamespace>;
  /** Undefined without a user namespace. */
  readonly ids:
    | { readonly uids: readonly ClaimedIds[]; readonly gids: readonly ClaimedIds[] }
    | undefined;
}

/** The images that {@link readClaims} reads, by their names. */
export function hasClaims(name: string): boolean {
  return kindOfName(name) !== undefined;
}

const kindsByName: Readonly<Record<string, ImageKind>> = {
  core: "core",
  ids: "ids",
  mountpoints: "mounts",
  userns: "users",
  inventory: "inventory",
  pstree: "processes",
  seccomp: "seccomp",
};

function kindOfName(name: string): ImageKind | undefined {
  const stem = /^(?:(core|ids|mountpoints|userns)-\d+|(inventory|pstree|seccomp))\.img$/.exec(name);
  return kindsByName[stem?.[1] ?? stem?.[2] ?? ""];
}

/**
 * Reads what a restore of these images would do, by the formats of CRIU 3.19 to 4.2. Whoever made them is not trusted:
 * `invalid-argument` for images that are damaged or incomplete.
 */
export function readClaims(images: ReadonlyMap<string, Uint8Array>): ImageClaims {
  const filesOf = (wanted: ImageKind): readonly (readonly [string, readonly ImageMessage[]])[] =>
    [...images]
      .filter(([name]) => kindOfName(name) === wanted)
      .map(([name, file]) => [
        name,
        imageEntries(wanted, file).map((entry) => new ImageMessage(wanted, entry)),
      ]);
  const of = (wanted: ImageKind): readonly ImageMessage[] =>
    filesOf(wanted).flatMap(([, entries]) => entries);
  const cores = new Map(filesOf("core"));
  const filtered = filteredByProcess(cores, of("processes"), of("seccomp"));
  const threads = [...cores].flatMap(([name, entries]) =>
    entries.flatMap((core) => threadOf(core, filtered.has(name))),
  );
  if (threads.length === 0) throw invalid("core", "there is no process");
  return {
    threads,
    mounts: of("mounts").map(mountOf),
    nodeNamespaces: nodeNamespaces(of("inventory"), of("ids")),
    ids: idsOf(of("users")),
  };
}

// CRIU's states of tasks: one that is dead has no credentials, and runs nothing.
const deadStates = [2, 6];

/** The name by which CRIU opens the image of a thread. `core-01.img` is not that of thread 1. */
function coreOf(id: number): string {
  return `core-${id}.img`;
}

const filterMode = 2;
/** SECCOMP_FILTER_FLAG_TSYNC of seccomp(2): the kernel gives a filter to all threads of the process. */
const toAllThreads = 1;

/**
 * The images of threads that get the seccomp filters of the first thread of their process. Where all threads have the same, CRIU
 * writes that the others have none, and installs those of the first one for all (criu/seccomp.c, try_use_tsync).
 */
function filteredByProcess(
  cores: ReadonlyMap<string, readonly ImageMessage[]>,
  processes: readonly ImageMessage[],
  seccomp: readonly ImageMessage[],
): ReadonlySet<string> {
  // Of these images CRIU reads the first entry alone; the trees of processes have one for each.
  const filters = seccomp[0]?.messages(1) ?? [];
  const isForAll = (leader: number): boolean => {
    const core = cores.get(coreOf(leader))?.[0];
    if (core === undefined || !isFiltered(core)) return false;
    const last = core.message(5)?.number(12) ?? core.message(3)?.number(12) ?? -1;
    return ((filters[last]?.number(3) ?? 0) & toAllThreads) !== 0;
  };
  const [given, notGiven] = [new Set<string>(), new Set<string>()];
  for (const process of processes) {
    const names = isForAll(process.number(1) ?? 0) ? given : notGiven;
    for (const id of process.numbers(5)) names.add(coreOf(id));
  }
  // A thread that two processes claim is not more trusted than the worse of them.
  for (const name of notGiven) given.delete(name);
  return given;
}

/**
 * Whether a thread gets a filter of its own. NOTE(criu): a mode of the process, which only old versions write, replaces that of
 * its first thread, and is ignored for the others (criu/cr-restore.c, check_core).
 */
function isFiltered(core: ImageMessage): boolean {
  const ofProcess = core.message(3)?.number(11) ?? filterMode;
  return core.message(5)?.number(11) === filterMode && ofProcess === filterMode;
}

function threadOf(core: ImageMessage, byProcess: boolean): readonly ClaimedThread[] {
  const [task, thread] = [core.message(3), core.message(5)];
  const credentials = thread?.message(10);
  if (thread === undefined || credentials === undefined) {
    if (deadStates.includes(task?.number(1) ?? 0)) return [];
    throw invalid("core", "a thread has no credentials");
  }
  const set = (field: number): bigint => bitsOf(credentials.numbers(field));
  return [
    {
      comm: thread.text(13) ?? task?.text(6) ?? "",
      uids: [1, 3, 5, 7].map((field) => idOf(credentials.number(field))),
      gids: [
        ...[2, 4, 6, 8].map((field) => idOf(credentials.number(field))),
        ...credentials.numbers(14),
      ],
      capabilities: {
        inheritable: set(9),
        permitted: set(10),
        effective: set(11),
        bounding: set(12),
        ambient: set(19),
      },
      noNewPrivileges: credentials.number(18) === 1,
      isFiltered: byProcess || isFiltered(core),
      label: credentials.text(15) ?? "",
    },
  ];
}

function idOf(id: number | undefined): number {
  if (id === undefined) throw invalid("core", "a thread has no ids");
  return id;
}

/** Sets of capabilities are words of 32 bits, the lowest first. */
function bitsOf(words: readonly number[]): bigint {
  return words.reduce((bits, word, at) => bits | (BigInt(word) << BigInt(32 * at)), 0n);
}

function mountOf(entry: ImageMessage): ClaimedMount {
  const mountpoint = entry.text(7) ?? "";
  const root = entry.text(6) ?? "";
  const isExternal = entry.flag(13);
  return {
    mountpoint: mountpoint === "" ? "/" : mountpoint,
    fileSystem: entry.number(1) ?? 0,
    root,
    external: entry.text(18) ?? (isExternal ? root : undefined),
    flags: (entry.number(5) ?? 0) | ((entry.number(17) ?? 0) & 1),
  };
}

function nodeNamespaces(
  inventory: readonly ImageMessage[],
  tasks: readonly ImageMessage[],
): ReadonlySet<ClaimedNamespace> {
  const node = inventory[0]?.message(3);
  if (node === undefined || inventory.length !== 1) throw invalid("inventory", "it has no ids");
  if (tasks.length === 0) throw invalid("ids", "there are none");
  const shared = Object.entries(namespaceFields).filter(([, field]) =>
    // CRIU compares numbers, and takes one that is absent for zero.
    tasks.some((task) => (task.number(field) ?? 0) === (node.number(field) ?? 0)),
  );
  return new Set(shared.map(([kind]) => kind as ClaimedNamespace));
}

function idsOf(entries: readonly ImageMessage[]): ImageClaims["ids"] {
  if (entries.length === 0) return undefined;
  const ranges = (field: number): readonly ClaimedIds[] =>
    entries
      .flatMap((entry) => entry.messages(field))
      .map((range) => ({
        containerID: range.number(1) ?? 0,
        hostID: range.number(2) ?? 0,
        size: range.number(3) ?? 0,
      }));
  return { uids: ranges(1), gids: ranges(2) };
}
