// The server of Davit.start(): it belongs to the program at the other end of its stdin, and ends with it.
import { randomBytes } from "node:crypto";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { constants } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { messageOf, RuntimeError } from "../../base/errors.ts";
import { CriClient } from "../../client/cri-client.ts";
import type { Config } from "../../config/config.ts";
import { parseSources } from "../../config/load.ts";
import { type Daemon, runDaemon } from "../../daemon/process/run.ts";
import { lockFile } from "../../linux/file/index.ts";
import { exitCode } from "../command-line/exit-code.ts";
import { TemporaryHost } from "../demo/host.ts";
import { onStopSignals } from "../stop-signals.ts";
import type { Terminal } from "../output/terminal.ts";
import { type AttachedRequest, readRequest } from "./request.ts";

const runRoot = "/run/davit-attached";
const dataRoot = "/var/lib/davit-attached";
const lockName = "server.lock";
const requestName = "request.json";
/** How long another server may take to choose its network, or to remove what a killed one has left. */
const turnMs = 120_000;
const pollMs = 25;
const callMs = 60_000;

interface AttachedOptions {
  readonly terminal: Terminal;
  readonly version: string;
}

/** The directories and the network of one server. */
interface ServerFiles {
  readonly id: string;
  readonly directory: string;
  readonly host: TemporaryHost;
  readonly request: AttachedRequest;
}

/** Serves until stdin ends, then removes everything. Returns the exit code. */
export async function serveAttached({ terminal, version }: AttachedOptions): Promise<number> {
  using signals = onStopSignals((signal) => {
    process.exit(128 + constants.signals[signal]);
  });
  const input = readRequest(process.stdin);
  const request = await input.request;
  const place = directoriesOf(randomBytes(4).toString("hex"), request);
  await using _lock = await prepare(place, version);
  try {
    await using server = await startServer(place, version);
    terminal.out(`${JSON.stringify({ endpoint: `unix://${server.daemon.socket}` })}\n`);
    await Promise.race([input.ended, signals.stopped, server.daemon.closed]);
  } finally {
    await cleanUp(place);
  }
  return exitCode.done;
}

function directoriesOf(id: string, request: AttachedRequest): ServerFiles {
  const directory = join(runRoot, id);
  const root = request.root ?? join(dataRoot, id);
  return {
    id,
    directory,
    host: new TemporaryHost(
      { root, run: directory, keepsRoot: request.root !== undefined },
      `davit-${id}`,
    ),
    request,
  };
}

/**
 * Locks the place and makes its network. One server at a time does this: two that choose a subnet at once would choose
 * the same. The first thing it does is to remove what killed servers have left.
 */
async function prepare(place: ServerFiles, version: string): Promise<AsyncDisposable> {
  await mkdir(runRoot, { recursive: true, mode: 0o711 });
  using _turn = await waitForTurn();
  await removeLeftovers(version);
  await mkdir(place.directory, { mode: 0o711 });
  const lock = lockFile(join(place.directory, lockName));
  await writeFile(join(place.directory, requestName), JSON.stringify(place.request));
  try {
    await prepareNetwork(place);
  } catch (error) {
    await cleanUp(place);
    throw error;
  }
  return {
    [Symbol.asyncDispose]: () => {
      lock?.[Symbol.dispose]();
      return Promise.resolve();
    },
  };
}

async function waitForTurn(): Promise<Disposable> {
  const path = join(runRoot, "turn.lock");
  const until = performance.now() + turnMs;
  while (performance.now() < until) {
    const lock = lockFile(path);
    if (lock !== undefined) return lock;
    await sleep(pollMs);
  }
  throw new RuntimeError(
    "deadline-exceeded",
    `start a server: another one holds "${path}" for more than ${turnMs / 1000} s; see which process it names`,
  );
}

async function prepareNetwork({ directory, host, request }: ServerFiles): Promise<void> {
  const { network } = request;
  if (network === "none") return;
  if (network === "bridge") {
    await host.makeBridge(await host.prepareNetwork());
    return;
  }
  await mkdir(join(directory, "net.d"));
  await writeFile(join(directory, "net.d", "10-own.conflist"), await readFile(network.conflist));
}

/** Removes the pods, networks and directories of servers that were killed: those whose lock nobody holds. */
async function removeLeftovers(version: string): Promise<void> {
  for (const entry of await readdir(runRoot, { withFileTypes: true })) {
    if (!entry.isDirectory()) continue;
    using lock = lockFile(join(runRoot, entry.name, lockName));
    if (lock === undefined) continue;
    const left = await leftPlace(entry.name);
    try {
      // Its daemon knows its pods.
      await using _server = await startServer(left, version);
    } catch (error) {
      process.stderr.write(`remove the pods of a killed server: ${messageOf(error)}\n`);
    }
    await cleanUp(left);
  }
}

async function leftPlace(id: string): Promise<ServerFiles> {
  const text = await readFile(join(runRoot, id, requestName), "utf8").catch(() => "{}");
  return directoriesOf(id, {
    network: "bridge",
    ...(JSON.parse(text) as Partial<AttachedRequest>),
  });
}

interface AttachedServer extends AsyncDisposable {
  readonly daemon: Daemon;
}

/** Starts the daemon. Its end removes all of its pods first. */
async function startServer(place: ServerFiles, version: string): Promise<AttachedServer> {
  const daemon = await runDaemon(configOf(place), { version });
  const end = async (): Promise<void> => {
    try {
      await removePods(`unix://${daemon.socket}`);
    } finally {
      await daemon.close();
    }
  };
  try {
    await daemon.ready;
  } catch (error) {
    await daemon.close();
    throw error;
  }
  return { daemon, [Symbol.asyncDispose]: end };
}

function configOf({ host, request }: ServerFiles): Config {
  const sources = [
    { file: "the option config", text: request.config ?? "" },
    { file: "the server's own settings", text: host.configuration() },
  ];
  return parseSources(sources, "of the server").config;
}

async function removePods(endpoint: string): Promise<void> {
  using client = new CriClient(endpoint);
  const options = { timeoutMs: callMs };
  const { items } = await client.runtime.listPodSandbox({}, options);
  await Promise.all(
    items.map(async ({ id: podSandboxId }) => {
      await client.runtime.stopPodSandbox({ podSandboxId }, options);
      await client.runtime.removePodSandbox({ podSandboxId }, options);
    }),
  );
}

async function cleanUp({ host, request }: ServerFiles): Promise<void> {
  if (request.network === "bridge") {
    await host.removeBridge();
    await host.removeChains();
  }
  await host.removeDirectories();
}
