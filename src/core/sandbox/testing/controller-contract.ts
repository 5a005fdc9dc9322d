import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { afterEach, beforeEach, describe, test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { isKind } from "../../../base/errors.ts";
import { NamespaceMode, PodSandboxConfigSchema } from "../../../gen/runtime/v1/api_pb.ts";
import { testOperation } from "../../operation/testing/operation.ts";
import {
  type ControllerStatus,
  controllerNotReady,
  controllerReady,
  type Sandbox,
  type SandboxController,
} from "../index.ts";

/** What a controller needs to be tested. */
export interface ControllerHarness extends AsyncDisposable {
  /** Opens a controller on the harness's state; a second one is that of the next daemon. */
  open(): Promise<SandboxController>;
  /** What the sandboxes' handler has besides the controller's name, such as the program of a shim. */
  readonly handler?: Partial<Sandbox["handler"]>;
  /** Fails if anything of the sandbox is left. With `podFiles: false`, its files and namespaces may be. */
  assertGone(id: string, options?: { readonly podFiles: boolean }): void;
}

const never = new AbortController().signal;

/**
 * Tests the promises of {@link SandboxController}, one test each; every implementation runs it. `sweepsPodFiles` is
 * false for a controller that has its pods' files and network namespaces where podsandbox has them: podsandbox sweeps
 * them.
 */
export function describeController(
  name: string,
  open: () => Promise<ControllerHarness>,
  { sweepsPodFiles = true }: { readonly sweepsPodFiles?: boolean } = {},
): void {
  describe(`${name} as a SandboxController`, () => {
    let contract: Contract;
    beforeEach(async () => {
      const harness = await open();
      contract = new Contract(harness, await harness.open());
    });
    afterEach(() => contract.harness[Symbol.asyncDispose]());
    testLife(() => contract);
    testRestart(() => contract);
    testSweep(() => contract, sweepsPodFiles);
  });
}

class Contract {
  readonly harness: ControllerHarness;
  readonly controller: SandboxController;

  constructor(harness: ControllerHarness, controller: SandboxController) {
    this.harness = harness;
    this.controller = controller;
  }

  /** A sandbox without a PID namespace of its own, not yet created. */
  newSandbox(): Sandbox {
    const id = randomBytes(32).toString("hex");
    const namespaceOptions = { pid: NamespaceMode.CONTAINER };
    const controller = this.controller.name;
    return {
      id,
      name: id,
      requestBytes: new Uint8Array(),
      config: create(PodSandboxConfigSchema, {
        hostname: "contract",
        linux: { securityContext: { namespaceOptions } },
      }),
      handler: { requested: "", name: "contract", controller, ...this.harness.handler },
      createdAtNs: 1n,
      bootId: "boot",
      state: { name: "creating" },
    };
  }

  /** The same, created and started. */
  async started(): Promise<Sandbox> {
    const sandbox = this.newSandbox();
    const { netnsPath } = await this.controller.create(sandbox, testOperation());
    const created = { ...sandbox, ...(netnsPath === undefined ? {} : { netnsPath }) };
    const { process } = await this.controller.start(created, testOperation());
    return {
      ...created,
      state: { name: "ready" },
      ...(process === undefined ? {} : { process }),
    };
  }

  async status(sandbox: Sandbox, verbose = false): Promise<ControllerStatus> {
    return this.controller.status(sandbox, { verbose, signal: never });
  }
}

function testLife(its: () => Contract): void {
  test("a started sandbox is ready, and its containers get pinned namespaces", async () => {
    const { controller } = its();
    const sandbox = await its().started();
    assert.equal((await its().status(sandbox)).state, controllerReady);
    assert.ok(sandbox.netnsPath !== undefined);
    assert.equal(controller.environment(sandbox).pins.net, sandbox.netnsPath);
    await controller.shutdown(sandbox, never);
  });

  test("verbose alone adds values to the status", async () => {
    const sandbox = await its().started();
    assert.deepEqual((await its().status(sandbox)).info, {});
    assert.notDeepEqual((await its().status(sandbox, true)).info, {});
    await its().controller.shutdown(sandbox, never);
  });

  test("a stopped sandbox is not ready, and wait() resolves", async () => {
    const { controller } = its();
    const sandbox = await its().started();
    const exit = controller.wait(sandbox, never);
    await controller.stop(sandbox, never);
    await controller.stop(sandbox, never);
    assert.match((await exit).reason, /./);
    assert.equal((await its().status(sandbox)).state, controllerNotReady);
    await controller.shutdown(sandbox, never);
  });

  test("shutdown() removes everything and is idempotent; then status() is not-found", async () => {
    const { controller, harness } = its();
    const sandbox = await its().started();
    await controller.stop(sandbox, never);
    await controller.closeNamespaces(sandbox, never);
    await controller.closeNamespaces(sandbox, never);
    await controller.shutdown(sandbox, never);
    harness.assertGone(sandbox.id);
    await controller.shutdown(sandbox, never);
    await assert.rejects(its().status(sandbox), (error) => isKind(error, "not-found"));
  });

  test("shutdown() removes a sandbox that was only created, or never", async () => {
    const { controller, harness } = its();
    const sandbox = its().newSandbox();
    await controller.create(sandbox, testOperation());
    await controller.shutdown(sandbox, never);
    harness.assertGone(sandbox.id);
    await controller.shutdown(its().newSandbox(), never);
  });

  test("wait() ends with its signal", async () => {
    const { controller } = its();
    const sandbox = await its().started();
    await assert.rejects(
      controller.wait(sandbox, AbortSignal.abort(new Error("enough"))),
      /enough/,
    );
    await controller.shutdown(sandbox, never);
  });
}

function testRestart(its: () => Contract): void {
  test("load() reattaches to a living sandbox", async () => {
    const sandbox = await its().started();
    const next = await its().harness.open();
    assert.equal(await next.load(sandbox, never), undefined);
    const { state } = await next.status(sandbox, { verbose: false, signal: never });
    assert.equal(state, controllerReady);
    await next.shutdown(sandbox, never);
    its().harness.assertGone(sandbox.id);
  });

  test("load() of a sandbox that is gone resolves to the reason", async () => {
    const sandbox = await its().started();
    await its().controller.shutdown(sandbox, never);
    const next = await its().harness.open();
    assert.match((await next.load(sandbox, never)) ?? "", /./);
    await next.shutdown(sandbox, never);
  });
}

function testSweep(its: () => Contract, sweepsPodFiles: boolean): void {
  test("orphans() and sweep() concern unknown sandboxes only", async () => {
    const { controller, harness } = its();
    const [known, lost] = [await its().started(), await its().started()];
    const ids = new Set([known.id]);
    assert.deepEqual(await controller.orphans(ids), [lost.id]);
    assert.ok((await controller.sweep(ids, never)).length > 0);
    harness.assertGone(lost.id, { podFiles: sweepsPodFiles });
    assert.deepEqual(await controller.orphans(ids), []);
    assert.equal((await its().status(known)).state, controllerReady);
    for (const sandbox of [known, lost]) {
      await controller.shutdown(sandbox, never);
      harness.assertGone(sandbox.id);
    }
  });
}
