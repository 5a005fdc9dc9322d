/**
 * What davit's own programs may do, which read what strangers wrote. A program is started with few capabilities, few
 * system calls and without new privileges (`own-program.ts`, native/confine.c), and with a descriptor of its root. It
 * loads what it needs, enters that root by a function of this file, and only then reads its input.
 */
import { closeSync } from "node:fs";
import process from "node:process";

import { errnoCode } from "../../base/system-error.ts";
import { enterOpenRoot, rootSockets, sealProcess, sendRoot } from "./native.ts";

/** User and group "nobody" of every distribution (the kernel's overflow id). */
export const NOBODY = 65_534;
/** The descriptor after stderr: the root of the process, or the socket with the roots. */
export const ROOT_FD = 3;

/**
 * In a program that was started with this confinement: enters its root, from which no path leads out. The archive
 * reader and `nobody` become the user nobody without groups and capabilities. Libraries and files that the program
 * needs must be loaded before. Of all threads; nothing of it can be undone.
 */
export function enterConfinement(kind: "packer" | "archive-reader" | "nobody"): void {
  enterOpenRoot(ROOT_FD, "root");
  if (kind !== "packer") {
    // These change all threads (nptl(7)); a single thread's call would not.
    process.setgroups?.([]);
    process.setgid?.(NOBODY);
    process.setuid?.(NOBODY);
  }
  sealProcess(kind);
}

/** In an unpacker, before its first job: takes away what it needs no more. It still enters roots. */
export function sealUnpacker(): void {
  sealProcess("unpacker");
}

/** In an unpacker: enters the root that the daemon has sent for the next job. Waits for it. */
export function enterNextRoot(): void {
  enterOpenRoot(ROOT_FD, "socket");
}

/** The daemon's end of the socket by which an unpacker gets the directory of each layer. */
export class RootSender {
  readonly #socket: number;
  #sending: Promise<void> = Promise.resolve();
  #isClosed = false;

  private constructor(socket: number) {
    this.#socket = socket;
  }

  /** Calls `start` with the process's end of the socket, which is closed afterwards. */
  static async open<Started>(
    start: (socket: number) => Promise<Started>,
  ): Promise<{ readonly started: Started; readonly sender: RootSender }> {
    const [ours, theirs] = rootSockets();
    const sender = new RootSender(ours);
    try {
      return { started: await start(theirs), sender };
    } catch (cause) {
      await sender.close();
      throw cause;
    } finally {
      closeSync(theirs);
    }
  }

  /** Sends a directory as the next root. A process that has ended is not an error: its end says more. */
  async send(directory: string): Promise<void> {
    if (this.#isClosed) return;
    const sent = sendRoot(this.#socket, directory);
    this.#sending = sent.catch(() => undefined);
    try {
      await sent;
    } catch (cause) {
      if (errnoCode(cause) !== "EPIPE") throw cause;
    }
  }

  /** Idempotent. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#sending;
    closeSync(this.#socket);
  }
}
