import type { OciProcess, OciResources } from "../../oci/index.ts";
import assert from "node:assert/strict";
import { existsSync, readFileSync, renameSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";

import { create } from "@bufbuild/protobuf";
import { isKind, kindOf } from "../../../base/errors.ts";
import { LinuxContainerResourcesSchema } from "../../../gen/runtime/v1/api_pb.ts";
import { patient } from "../../../../test/support/patience.ts";
import { testOperation } from "../../operation/testing/operation.ts";
import { TestClient } from "../../streaming/testing/test-client.ts";
import type { ContainerBundle, ContainerLimits, ContainerRuntime } from "../index.ts";
import type { ContainerScript } from "./container-scripts.ts";

/** What a runtime needs to be tested. */
export interface RuntimeHarness extends AsyncDisposable {
  /** Opens a runtime on the harness's state. The test closes it before it opens the next one, as after a restart. */
  open(): Promise<ContainerRuntime & { close(): Promise<void> }>;
  /** A new container that runs the script, with a log, and with a stdin for `echoes`. */
  bundle(script: ContainerScript): ContainerBundle;
  /** The OCI process of a command. */
  processSpec(args: readonly string[]): OciProcess;
  /** The memory limit in the container's cgroup. */
  memoryLimit(id: string): string;
  /** Fails if files, processes or cgroups of the container are left. */
  assertGone(id: string): void;
}

const deadlineMs = patient(20_000);
const soon = (): AbortSignal => AbortSignal.timeout(deadlineMs);

/**
 * Tests the promises of {@link ContainerRuntime}, one test each; every implementation runs it. `processes` is false for
 * a runtime in memory, which runs no commands and has no streams.
 */
export function describeContainerRuntime(
  name: string,
  open: () => Promise<RuntimeHarness>,
  { processes = true }: { readonly processes?: boolean } = {},
): void {
  describe(`${name} as a ContainerRuntime`, () => {
    const contract = new Contract(open);
    before(() => contract.open());
    after(() => contract.close());
    testLife(contract);
    testCleanup(contract);
    testRestart(contract);
    testUpdate(contract);
    if (processes) testProcesses(contract);
  });
}

/** The harness and the runtime under test. */
class Contract {
  harness!: RuntimeHarness;
  runtime!: Awaited<ReturnType<RuntimeHarness["open"]>>;
  readonly #open: () => Promise<RuntimeHarness>;

  constructor(open: () => Promise<RuntimeHarness>) {
    this.#open = open;
  }

  async open(): Promise<void> {
    this.harness = await this.#open();
    this.runtime = await this.harness.open();
  }

  async close(): Promise<void> {
    await this.runtime.close();
    await this.harness[Symbol.asyncDispose]();
  }

  /** Opens another runtime, as the next daemon does. */
  async restart(): Promise<void> {
    await this.runtime.close();
    this.runtime = await this.harness.open();
  }

  /** Starts a container and removes it after `use`; nothing of it may be left. */
  async withContainer(
    script: ContainerScript,
    use: (id: string, bundle: ContainerBundle) => Promise<void>,
  ): Promise<void> {
    const bundle = this.harness.bundle(script);
    await this.runtime.start(bundle, testOperation());
    try {
      await use(bundle.id, bundle);
    } finally {
      await this.runtime.remove(bundle.id);
    }
    this.harness.assertGone(bundle.id);
  }

  async exitCodeOf(id: string): Promise<number> {
    return (await this.runtime.wait(id, soon())).exitCode;
  }
}

function testLife(contract: Contract): void {
  test("start() runs the process, and wait() resolves with its exit", async () => {
    const { harness } = contract;
    const bundle = harness.bundle("exits7");
    const before = BigInt(Date.now()) * 1_000_000n;
    const { startedAtNs } = await contract.runtime.start(bundle, testOperation());
    const exit = await contract.runtime.wait(bundle.id, soon());
    assert.deepEqual([exit.exitCode, exit.unknown, exit.oomKilled], [7, false, false]);
    assert.ok(before <= startedAtNs && startedAtNs < exit.finishedAtNs + 10_000_000n);
    await contract.runtime.remove(bundle.id);
    harness.assertGone(bundle.id);
  });

  test("start() refuses an id that was started, and leaves that container alone", async () => {
    await contract.withContainer("sleeps", async (id, bundle) => {
      await assert.rejects(contract.runtime.start(bundle, testOperation()), (error) =>
        isKind(error, "already-exists"),
      );
      await contract.runtime.killAll(id);
      assert.equal(await contract.exitCodeOf(id), 137);
    });
  });

  test("start() that is aborted leaves nothing", async () => {
    const bundle = contract.harness.bundle("sleeps");
    const aborted = AbortSignal.abort(new Error("the caller is gone"));
    await assert.rejects(contract.runtime.start(bundle, testOperation(aborted)));
    contract.harness.assertGone(bundle.id);
  });

  test("wait() rejects when it is aborted, and for a container that it does not know", async () => {
    await contract.withContainer("sleeps", async (id) => {
      const aborted = AbortSignal.abort(new Error("not any more"));
      await assert.rejects(contract.runtime.wait(id, aborted), /not any more/);
      await contract.runtime.kill(id, 9);
      assert.equal(await contract.exitCodeOf(id), 137);
    });
    await assert.rejects(contract.runtime.wait("0".repeat(64), soon()), (error) =>
      isKind(error, "not-found"),
    );
  });

  test("kill() of a container that has ended is done", async () => {
    await contract.withContainer("exits7", async (id) => {
      await contract.exitCodeOf(id);
      await contract.runtime.kill(id, 15);
    });
  });

  test("killAll() ends a container; it may be repeated", async () => {
    await contract.withContainer("sleeps", async (id) => {
      await Promise.all([contract.runtime.killAll(id), contract.runtime.killAll(id)]);
      assert.equal(await contract.exitCodeOf(id), 137);
      await contract.runtime.killAll(id);
    });
  });

  test("spec() returns the spec of the start, and undefined before", async () => {
    const bundle = contract.harness.bundle("sleeps");
    assert.equal(await contract.runtime.spec(bundle.id), undefined);
    await contract.withContainer("sleeps", async (id, { spec }) => {
      assert.deepEqual(await contract.runtime.spec(id), spec);
    });
  });
}

function testCleanup(contract: Contract): void {
  test("remove() ends a running container, and is idempotent", async () => {
    await contract.withContainer("sleeps", async (id) => {
      await contract.runtime.remove(id);
      contract.harness.assertGone(id);
    });
    await contract.runtime.remove("0".repeat(64));
  });

  test("orphans() are the containers that are not known", async () => {
    await contract.withContainer("sleeps", async (id) => {
      assert.deepEqual(await contract.runtime.orphans(new Set()), [id]);
      assert.deepEqual(await contract.runtime.orphans(new Set([id])), []);
    });
    assert.deepEqual(await contract.runtime.orphans(new Set()), []);
  });
}

function testRestart(contract: Contract): void {
  test("load() adopts containers that run, or end while no daemon runs", async () => {
    const { harness } = contract;
    const bundles = [harness.bundle("sleeps"), harness.bundle("exits9Later")];
    const started = [];
    for (const bundle of bundles) {
      started.push(await contract.runtime.start(bundle, testOperation()));
    }
    await contract.runtime.close();
    // The second container ends meanwhile; the exit code is the same if it ends later.
    await delay(500);
    contract.runtime = await harness.open();
    for (const [n, bundle] of bundles.entries()) {
      const { process, monitor } = started[n] ?? assert.fail();
      const { id, runtimePath, cgroupPath } = bundle;
      await contract.runtime.load(id, { runtimePath, process, monitor, cgroupPath });
    }
    const [runs, ended] = bundles.map(({ id }) => id);
    assert.ok(runs !== undefined && ended !== undefined);
    assert.equal(await contract.exitCodeOf(ended), 9);
    await contract.runtime.kill(runs, 9);
    assert.equal(await contract.exitCodeOf(runs), 137);
    for (const id of [runs, ended]) {
      await contract.runtime.remove(id);
      harness.assertGone(id);
    }
  });

  test("loadUnrecorded() adopts a container that was started, and removes any other", async () => {
    const bundle = contract.harness.bundle("sleeps");
    const { process } = await contract.runtime.start(bundle, testOperation());
    await contract.restart();
    const found = await contract.runtime.loadUnrecorded(bundle.id);
    assert.deepEqual(found?.process, process);
    await contract.runtime.kill(bundle.id, 9);
    assert.equal(await contract.exitCodeOf(bundle.id), 137);
    await contract.runtime.remove(bundle.id);
    contract.harness.assertGone(bundle.id);
    assert.equal(await contract.runtime.loadUnrecorded(bundle.id), undefined);
  });

  test("remove() removes what an earlier daemon started and this one does not know", async () => {
    const bundle = contract.harness.bundle("sleeps");
    await contract.runtime.start(bundle, testOperation());
    await contract.restart();
    assert.deepEqual(await contract.runtime.orphans(new Set()), [bundle.id]);
    await contract.runtime.remove(bundle.id);
    contract.harness.assertGone(bundle.id);
  });
}

/** New limits: the memory limit in bytes. */
function memoryLimits(memoryLimitInBytes: bigint): ContainerLimits {
  return {
    resources: create(LinuxContainerResourcesSchema, { memoryLimitInBytes }),
    spec: { memory: { limit: memoryLimitInBytes } },
  };
}

function testUpdate(contract: Contract): void {
  test("update() writes limits, and its result restores the previous ones", async () => {
    await contract.withContainer("sleeps", async (id) => {
      const before = contract.harness.memoryLimit(id);
      const restore = await contract.runtime.update(id, memoryLimits(64n << 20n), soon());
      assert.equal(contract.harness.memoryLimit(id), String(64 << 20));
      await restore();
      assert.equal(contract.harness.memoryLimit(id), before);
    });
  });

  test("update() of a container that has ended is refused", async () => {
    await contract.withContainer("exits7", async (id) => {
      await contract.exitCodeOf(id);
      await assert.rejects(contract.runtime.update(id, memoryLimits(64n << 20n), soon()), (error) =>
        isKind(error, "failed-precondition"),
      );
    });
  });
}

/** Waits until a file contains a match. */
async function untilWritten(path: string, pattern: RegExp): Promise<void> {
  const deadline = performance.now() + deadlineMs;
  while (!existsSync(path) || !pattern.test(readFileSync(path, "utf8"))) {
    assert.ok(performance.now() < deadline, `no ${String(pattern)} in ${path}`);
    await delay(5);
  }
}

function testProcesses(contract: Contract): void {
  test("start() fails with the OCI runtime's message, and leaves nothing", async () => {
    const { spec, ...bundle } = contract.harness.bundle("sleeps");
    const process = { ...spec.process, args: ["no-such-command"] };
    const broken = { ...bundle, spec: { ...spec, process } };
    await assert.rejects(contract.runtime.start(broken, testOperation()), /no-such-command/);
    contract.harness.assertGone(bundle.id);
  });

  test("kill() sends a signal that the process handles", async () => {
    await contract.withContainer("handlesTerm", async (id, { logPath = "" }) => {
      await untilWritten(logPath, /ready/);
      await contract.runtime.kill(id, 15);
      assert.equal(await contract.exitCodeOf(id), 42);
    });
  });

  test("update() that fails changes nothing", async () => {
    await contract.withContainer("sleeps", async (id) => {
      const before = contract.harness.memoryLimit(id);
      // CPUs that do not exist.
      const spec: OciResources = { cpu: { cpus: "4000" } };
      const invalid = { ...memoryLimits(64n << 20n), spec };
      await assert.rejects(contract.runtime.update(id, invalid, soon()));
      assert.equal(contract.harness.memoryLimit(id), before);
    });
  });

  test("execSync() returns the output and the exit code", async () => {
    await contract.withContainer("sleeps", async (id) => {
      const spec = contract.harness.processSpec(["sh", "-c", "echo out; echo err >&2; exit 3"]);
      const { stdout, stderr, exitCode } = await contract.runtime.execSync(
        id,
        spec,
        testOperation(),
      );
      assert.deepEqual([String(stdout), String(stderr), exitCode], ["out\n", "err\n", 3]);
    });
  });

  test("execSync() fails for a command that cannot be started", async () => {
    await contract.withContainer("sleeps", async (id) => {
      const spec = contract.harness.processSpec(["no-such-command"]);
      await assert.rejects(
        contract.runtime.execSync(id, spec, testOperation()),
        (error) => kindOf(error) === "unknown" && /no-such-command/.test(String(error)),
      );
    });
  });

  test("execSync() that is aborted kills the command; the container continues", async () => {
    await contract.withContainer("sleeps", async (id) => {
      const timeout = new AbortController();
      const spec = contract.harness.processSpec(["sh", "-c", "touch /tmp/runs; sleep 999"]);
      const command = contract.runtime.execSync(id, spec, testOperation(timeout.signal));
      const ran = contract.harness.processSpec([
        ...["sh", "-c", "while [ ! -e /tmp/runs ]; do sleep 0.02; done; rm /tmp/runs"],
      ]);
      await contract.runtime.execSync(id, ran, testOperation());
      timeout.abort(new Error("the time is over"));
      await assert.rejects(command, /the time is over/);
      const count = contract.harness.processSpec(["sh", "-c", "cat /proc/[0-9]*/cmdline"]);
      const { stdout } = await contract.runtime.execSync(id, count, testOperation());
      assert.doesNotMatch(String(stdout), /999/);
    });
  });

  test("exec() carries a client's streams and returns the exit code", async () => {
    await contract.withContainer("sleeps", async (id) => {
      const client = new TestClient();
      client.stdin.end("typed");
      const spec = contract.harness.processSpec(["sh", "-c", "cat; echo err >&2; exit 4"]);
      const run = { streams: client.streams(), terminal: false };
      const { exitCode } = await contract.runtime.exec(id, spec, run, testOperation());
      assert.deepEqual([exitCode, client.stdout.text, client.stderr.text], [4, "typed", "err\n"]);
    });
  });

  test("attach() joins clients to the container's streams from `wait-for-end` until its end", async () => {
    await contract.withContainer("echoes", async (id) => {
      const gone = new AbortController();
      const attach = (client: TestClient, signal = soon()) => {
        const options = { streams: client.streams(), terminal: false, stdin: "open" } as const;
        const { promise: attached, resolve } = Promise.withResolvers<undefined>();
        const operation = testOperation(signal, (stage) => {
          if (stage === "wait-for-end") resolve(undefined);
        });
        return { attached, end: contract.runtime.attach(id, options, operation) };
      };
      const [stays, leaves] = [new TestClient(), new TestClient()];
      const [staying, leaving] = [attach(stays), attach(leaves, gone.signal)];
      // Nobody is promised the output from before, not even from after the connection.
      await Promise.race([staying.attached, staying.end]);
      leaves.stdin.write("one\n");
      await Promise.all([stays.stdout.has("got one\n"), leaves.stdout.has("got one\n")]);
      gone.abort(new Error("the client left"));
      await assert.rejects(leaving.end, /the client left/);
      stays.stdin.write("two\n");
      await stays.stdout.has("got two\n");
      await contract.runtime.kill(id, 9);
      await staying.end;
      assert.ok(stays.stdout.writableFinished);
    });
  });

  test("reopenLog() continues in a new file, and does nothing while the log is there", async () => {
    await contract.withContainer("counts", async (id, { logPath = "" }) => {
      await untilWritten(logPath, / 2\n/);
      await contract.runtime.reopenLog(id, logPath);
      renameSync(logPath, `${logPath}.1`);
      await contract.runtime.reopenLog(id, logPath);
      await untilWritten(logPath, / F \d+\n/);
      await contract.runtime.kill(id, 9);
      await contract.exitCodeOf(id);
      const text = [`${logPath}.1`, logPath].map((path) => readFileSync(path, "utf8")).join("");
      const numbers = [...text.matchAll(/ F (\d+)$/gm)].map(([, number]) => Number(number));
      assert.deepEqual(
        numbers,
        numbers.map((_, n) => n + 1),
      );
    });
  });
}
