import { setTimeout as sleep } from "node:timers/promises";
import { isKind } from "../base/errors.ts";
import type { Connection } from "./connection.ts";
import { DavitError } from "./errors.ts";
import { isMissingCall } from "./explain.ts";

/** The label of pods that the server removes with a lease (proto/davit/v1/leases.proto). */
export const leaseLabel = "davit.dev/lease";

const retryMs = 100;
const answerMs = 10_000;

/**
 * The lease of a connection: the server removes the pods that have its id when the call that holds it ends, which is
 * also the case when this process is killed. It is made for the first pod. After a restart of the server it is held
 * again by its id.
 */
export class Lease {
  readonly #connection: Connection;
  readonly #ended = new AbortController();
  #id: Promise<string> | undefined;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** Its id. Throws `unsupported` for a server without leases. */
  async id(): Promise<string> {
    const what = "hold a lease for the pods of this program";
    this.#connection.check(what);
    this.#id ??= this.#hold(what);
    try {
      return await this.#id;
    } catch (error) {
      this.#id = undefined;
      throw error;
    }
  }

  /** Ends it: the server removes the pods that still have it. */
  end(): void {
    this.#ended.abort();
  }

  #hold(what: string): Promise<string> {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    // The call itself does not keep the process, but this wait does.
    const late = setTimeout(() => {
      reject(new DavitError("deadline", `${what}: no answer within ${answerMs} ms`));
    }, answerMs);
    this.#keep(resolve).then(
      () => reject(this.#connection.explain(what, new Error("the lease has ended"))),
      (error: unknown) => {
        reject(
          isMissingCall(error)
            ? this.#connection.unsupported(
                what,
                'use onDisconnect: "keep", or connect to a current davit',
                error,
              )
            : this.#connection.explain(what, error),
        );
      },
    );
    return promise.finally(() => {
      clearTimeout(late);
    });
  }

  /** Holds it until its end. Rejects if the server refuses it before `onHeld` was called. */
  async #keep(onHeld: (id: string) => void): Promise<void> {
    const { signal } = this.#ended;
    const isOver = (): boolean => signal.aborted || this.#connection.closed.aborted;
    let id = "";
    while (!isOver()) {
      try {
        const held = this.#connection.client.leases.hold({ id }, { signal, background: true });
        for await (const response of held) {
          id = response.id;
          onHeld(id);
        }
      } catch (error) {
        if (isOver()) return;
        if (id === "") throw error;
        // The server has removed the pods: the next pod gets another lease.
        if (isKind(error, "not-found")) break;
      }
      // The server restarts: it keeps the pods for a while.
      await sleep(retryMs, undefined, { ref: false, signal }).catch(() => undefined);
    }
    this.#id = undefined;
  }
}
