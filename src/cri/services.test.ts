import assert from "node:assert/strict";
import { test } from "node:test";
import { isKind, RuntimeError } from "../base/errors.ts";
import type { Call } from "../wire/grpc/call.ts";
import type { CriContext } from "./context.ts";
import { criMethods } from "./services.ts";

/** A daemon that is not ready yet, and a call of one of its methods. */
function starting(): {
  readonly ready: () => void;
  readonly end: () => void;
  readonly controller: AbortController;
  readonly call: (method: string) => Promise<Uint8Array>;
} {
  const soon = Promise.withResolvers<undefined>();
  const controller = new AbortController();
  let context: CriContext | undefined;
  const methods = criMethods({
    version: "1.2.3",
    context: () => context,
    soon: () => soon.promise,
  });
  return {
    ready: () => {
      // UpdateRuntimeConfig reads no context for an empty request.
      context = {} as CriContext;
      soon.resolve(undefined);
    },
    end: () => {
      soon.resolve(undefined);
    },
    controller,
    call: (name) => {
      const path = `/runtime.v1.RuntimeService/${name}`;
      const method = methods.get(path);
      assert.equal(method?.kind, "unary");
      const { signal } = controller;
      const call: Call = {
        method: path,
        id: 1,
        signal,
        startedAt: 0,
        sendHeaders: () => undefined,
        metadata: () => undefined,
      };
      return method.handle(new Uint8Array(), call);
    },
  };
}

test("Version is answered before the daemon is ready", async () => {
  const answer = await starting().call("Version");
  assert.match(Buffer.from(answer).toString("latin1"), /0\.1\.0.*davit.*1\.2\.3.*v1/s);
});

test("other calls wait until it is ready", async () => {
  const daemon = starting();
  let answered = false;
  const early = daemon.call("UpdateRuntimeConfig").finally(() => {
    answered = true;
  });
  await new Promise(setImmediate);
  assert.equal(answered, false);
  daemon.ready();
  assert.equal((await early).length, 0);
  assert.equal((await daemon.call("UpdateRuntimeConfig")).length, 0);
});

test("they are Unavailable when it is not ready soon, and end when nobody waits for them", async () => {
  const daemon = starting();
  const early = daemon.call("UpdateRuntimeConfig");
  daemon.end();
  await assert.rejects(early, (error: Error) => {
    assert.ok(isKind(error, "unavailable"));
    assert.match(error.message, /^serve UpdateRuntimeConfig: .*try again/);
    return true;
  });

  const other = starting();
  const left = other.call("UpdateRuntimeConfig");
  other.controller.abort(new RuntimeError("canceled", "gone"));
  other.ready();
  await assert.rejects(left, { message: "gone" });
});
