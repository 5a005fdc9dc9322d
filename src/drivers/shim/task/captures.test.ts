import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { isKind, RuntimeError } from "../../../base/errors.ts";
import { silentLogger } from "../../../base/logger.ts";
import type { BoundHandler } from "../../../core/handler/index.ts";
import type { Operation } from "../../../core/operation/index.ts";
import { type CaptureBy, ShimCaptures } from "./captures.ts";
import { CriuTurns } from "./criu-turns.ts";

const captures = new ShimCaptures({} as ConstructorParameters<typeof ShimCaptures>[0]);
const handlerOf = (more: Partial<BoundHandler>): BoundHandler => ({
  requested: "",
  name: "h",
  controller: "podsandbox",
  runtimeType: "io.containerd.runc.v2",
  ...more,
});

describe("ShimCaptures.obstacle()", () => {
  test("is nothing for captures by runc's shim, and for restores with runc in the usual places", () => {
    for (const [options, reason] of [
      [{}, undefined],
      [{ BinaryName: "/usr/sbin/runc" }, undefined],
      [
        { BinaryName: "/usr/bin/crun" },
        /and that shim restores by runc only, not by "crun"; use a/,
      ],
      [{ Root: "/run/other" }, /with the option Root, .*; use a handler with a path/],
      [{ CriuWorkPath: "/var/criu" }, /with the option CriuWorkPath, .*; use a handler/],
    ] as const) {
      assert.equal(captures.obstacle(handlerOf({ options }), "capture"), undefined);
      const message = captures.obstacle(handlerOf({ options }), "restore");
      if (reason === undefined) assert.equal(message, undefined);
      else assert.match(message ?? "", reason);
    }
  });

  test("names other shims, and the sandboxes that a shim has made", () => {
    for (const [more, reason] of [
      [{ runtimeType: "io.containerd.kata.v2" }, /captures containers of runc's shim only; use a/],
      [
        { controller: "shim" },
        /with controller = "shim", whose containers davit does not .*; use a/,
      ],
    ] as const) {
      for (const use of ["capture", "restore"] as const) {
        assert.match(captures.obstacle(handlerOf(more), use) ?? "", reason);
      }
    }
  });
});

describe("ShimCaptures.capture()", () => {
  test("that its shim does not answer says so, and the next one is refused until it does", async (t) => {
    const root = mkdtempSync(join(tmpdir(), "davit-captures-"));
    t.after(() => rmSync(root, { recursive: true }));
    const { promise: answer, resolve } = Promise.withResolvers<unknown>();
    const late = new RuntimeError("deadline-exceeded", "took longer than 1 s");
    const captureBy: CaptureBy = async (_deps, { run }) => {
      await assert.rejects(run(AbortSignal.abort(late)));
      throw late;
    };
    const deps = {
      log: silentLogger,
      criu: new CriuTurns(),
      paths: { podFile: () => join(root, "criu.conf"), taskFile: () => join(root, "capture") },
      shims: { get: () => Promise.resolve({ task: { call: () => answer }, process: { pid: 7 } }) },
      captureBy,
      get: (id: string) => ({
        id,
        state: { sandboxId: "pod", cgroupPath: "", ociRuntime: "crun" },
      }),
      specOf: () => Promise.resolve({}),
    } as unknown as ConstructorParameters<typeof ShimCaptures>[0];
    const own = new ShimCaptures(deps);
    const work = join(root, "work");
    const request = { images: join(work, "i"), work, closeTcp: false, leaveRunning: true };
    const given = { signal: new AbortController().signal } as unknown as Operation;
    await assert.rejects(own.capture("c", request, given), {
      kind: "deadline-exceeded",
      message:
        /^took longer than 1 s; its shim \(process 7\) does not answer, and .*: allow more time, or stop/,
    });
    await assert.rejects(own.capture("c", request, given), {
      kind: "failed-precondition",
      message:
        /^capture container "c": the shim of its pod has not answered the last capture yet; try again/,
    });
    // As runc does: it makes the directory of images, whatever has become of it.
    mkdirSync(request.images, { recursive: true });
    resolve({});
    const isRefused = (): Promise<boolean> =>
      own.capture("c", request, given).then(
        () => false,
        (error: unknown) => isKind(error, "failed-precondition"),
      );
    while (await isRefused()) await turn();
    assert.ok(!existsSync(work));
    await assert.rejects(own.capture("c", request, given), { message: "took longer than 1 s" });
  });
});
