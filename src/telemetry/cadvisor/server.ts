import { lstat, mkdir, rmdir } from "node:fs/promises";
import { dirname } from "node:path";
import { kindOf, messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { GrpcServer } from "../../wire/grpc/server.ts";
import { grpcCodeOfKind } from "../../wire/grpc/status.ts";
import { containerdMethods, type ContainerdSource } from "./containerd-api.ts";

/** A request has an id, and an answer some labels. */
const maxMessageBytes = 64 * 1024;

/** How often the path is looked at, in case another runtime has started. Milliseconds. */
const lookMs = 5_000;

/** What the server is given. */
export interface CadvisorServerOptions extends ContainerdSource {
  readonly path: string;
  readonly log: Logger;
  /** Called once when another process has replaced the socket; it is not served any more then. */
  readonly onLost: () => void;
  readonly lookMs?: number;
}

/**
 * The socket where cAdvisor looks for containerd.
 *
 * Only root may connect (0600). It never takes a path that another process serves, and gives it up when another
 * process binds it: clients reconnect to that one then. At the end it removes only its own file.
 */
export class CadvisorServer implements AsyncDisposable {
  readonly path: string;
  readonly #server: GrpcServer;
  readonly #options: CadvisorServerOptions;
  #looking: NodeJS.Timeout | undefined;
  #madeDirectory = false;
  #inode: bigint | undefined;
  #closing: Promise<void> | undefined;

  private constructor(options: CadvisorServerOptions) {
    this.path = options.path;
    this.#options = options;
    this.#server = new GrpcServer({
      methods: containerdMethods(options),
      maxMessageBytes,
      toStatus: (error) => ({ code: grpcCodeOfKind[kindOf(error)], message: messageOf(error) }),
      logger: options.log,
    });
  }

  /**
   * Serves the path.
   *
   * @throws RuntimeError `failed-precondition` when another process serves it, and like `listenUnix()`.
   */
  static async open(options: CadvisorServerOptions): Promise<CadvisorServer> {
    const server = new CadvisorServer(options);
    await server.#open();
    return server;
  }

  async #open(): Promise<void> {
    // The mode that containerd gives it: it may start later, and users of pods must reach what it keeps there.
    this.#madeDirectory =
      (await mkdir(dirname(this.path), { recursive: true, mode: 0o711 })) !== undefined;
    try {
      await this.#server.listen(this.path, { mode: 0o600 });
    } catch (error) {
      await this.#removeDirectory();
      throw error;
    }
    this.#inode = await inodeOf(this.path);
    this.#looking = setInterval(() => this.#lookSafely(), this.#options.lookMs ?? lookMs).unref();
  }

  /** Stops serving, and removes the socket unless another process has replaced it. */
  [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#looking);
    this.#closing ??= this.#server.stop(0).then(() => this.#removeDirectory());
    return this.#closing;
  }

  #lookSafely(): void {
    this.#look().catch((error: unknown) => {
      const { log, path: socket } = this.#options;
      log.warn("failed to give up the socket for cAdvisor", { socket, reason: messageOf(error) });
    });
  }

  async #look(): Promise<void> {
    if (this.#closing !== undefined) return;
    if ((await inodeOf(this.path).catch(() => undefined)) === this.#inode) return;
    const { log, onLost } = this.#options;
    log.warn(
      "stopped serving cAdvisor: the socket was removed, or another process has replaced it",
      {
        socket: this.path,
      },
    );
    await this[Symbol.asyncDispose]();
    onLost();
  }

  async #removeDirectory(): Promise<void> {
    // It stays when it has other entries.
    if (this.#madeDirectory) await rmdir(dirname(this.path)).catch(() => undefined);
  }
}

/** The inode at the path; undefined when there is no file. */
async function inodeOf(path: string): Promise<bigint | undefined> {
  try {
    return (await lstat(path, { bigint: true })).ino;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
