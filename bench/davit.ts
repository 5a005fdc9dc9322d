/** The davit that is measured. */
import { existsSync } from "node:fs";
import { cp, mkdir, realpath, writeFile } from "node:fs/promises";
import path from "node:path";
import { pluginDir, writeNetwork } from "./network.ts";
import { Server } from "./server.ts";

/** The handler that uses Debian's runc v2 shim, as the measured containerd does. */
export const shimHandler = "shim";

/** The options by which two davits differ. */
interface DavitOptions {
  readonly name: string;
  /** The checkout whose build is measured. */
  readonly home: string;
  /** Its files go here, below a directory of its name. */
  readonly directory: string;
  /** The first two numbers of its pods' addresses. */
  readonly network: string;
  /** More lines of its configuration: tables that it does not have otherwise. */
  readonly more?: readonly string[];
  /** More lines of the table [cni]. */
  readonly cni?: readonly string[];
}

/**
 * A davit with files of its own, not started yet. It runs from a copy of bin/, dist/ and node, so that it shares no
 * mapped file with another process, such as the bench itself, and its proportional set size is that of a davit
 * alone on a machine. A build at the same time does not affect it either.
 */
export async function prepareDavit(options: DavitOptions): Promise<Server> {
  const { name, home, network } = options;
  const directory = path.join(options.directory, name);
  const copy = path.join(directory, "home");
  const node = path.join(home, "node_modules/.bin/node");
  await mkdir(path.join(copy, "node_modules/.bin"), { recursive: true });
  await cp(await realpath(node), path.join(copy, "node_modules/.bin/node"));
  for (const part of ["bin", "dist"]) {
    await cp(path.join(home, part), path.join(copy, part), { recursive: true });
  }

  const state = `/run/${name}`;
  const socket = `${state}/davit.sock`;
  const confDir = path.join(directory, "net.d");
  await writeNetwork({
    confDir,
    bridge: `bench-${name}`.slice(0, 15),
    subnet: `${network}.0.0/16`,
    ipamDir: path.join(directory, "ipam"),
  });
  const config = path.join(directory, "davit.toml");
  const text = JSON.stringify;
  // A checkout from before NRI does not start with its settings.
  const nriSocket = existsSync(path.join(home, "src/drivers/nri"))
    ? `${state}/nri.sock`
    : undefined;
  const lines = [
    `root = ${text(path.join(directory, "root"))}`,
    `state = ${text(state)}`,
    "[server]",
    `listen = ${text(socket)}`,
    "[cni]",
    `conf_dir = ${text(confDir)}`,
    `bin_dirs = [${text(pluginDir)}]`,
    ...(options.cni ?? []),
    "[runtime]",
    // For the churn: with the default each of its samples would wait for two minutes.
    "retry_hold_seconds = 5",
    'default_handler = "crun"',
    `[runtime.handlers.${shimHandler}]`,
    'runtime_type = "io.containerd.runc.v2"',
    `[runtime.handlers.${shimHandler}.options]`,
    'BinaryName = "/usr/bin/crun"',
    ...(nriSocket === undefined ? [] : nriConfig(nriSocket, path.join(directory, "nri"))),
    ...(options.more ?? []),
  ];
  await writeFile(config, `${lines.join("\n")}\n`);
  return new Server({
    name,
    socket,
    nriSocket,
    mark: `${state}/`,
    run: {
      command: [path.join(copy, "bin/davit"), "serve", "--config", config],
      logFile: path.join(directory, "log"),
    },
  });
}

/** The davits of one build, each with files and a network of its own. */
export class Davits {
  readonly #of: Pick<DavitOptions, "home" | "directory">;
  #networks = 201;

  constructor(of: Pick<DavitOptions, "home" | "directory">) {
    this.#of = of;
  }

  async start(options: Pick<DavitOptions, "name" | "more" | "cni">): Promise<Server> {
    const network = `10.${this.#networks}`;
    this.#networks += 2; // 10.202 is the peer's
    const server = await prepareDavit({ ...this.#of, ...options, network });
    await server.start();
    return server;
  }
}

/** NRI with a socket and directories of its own, so that no plugin of the host takes part. */
function nriConfig(socket: string, directory: string): readonly string[] {
  return [
    "[nri]",
    `socket_path = ${JSON.stringify(socket)}`,
    `plugin_path = ${JSON.stringify(path.join(directory, "plugins"))}`,
    `plugin_config_path = ${JSON.stringify(path.join(directory, "conf.d"))}`,
  ];
}
