/**
 * F6: a container with SYS_PTRACE in a shared PID namespace reaches the node's files through the OCI runtime
 * that starts the next container. `runtime.ptrace_in_shared_pid = "refuse"` keeps such containers out.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { NamespaceMode } from "../../src/gen/runtime/v1/api_pb.ts";
import {
  type ContainerInit,
  container,
  createIn,
  inPod,
  Node,
  runIn,
} from "../support/suites/containers.ts";
import {
  code,
  failsWith,
  leakless,
  mapped,
  openDirectories,
  pod,
  POD,
  withPod,
} from "../support/suites/pods.ts";
import type { TestDaemon } from "../support/daemon.ts";

const { CONTAINER, TARGET } = NamespaceMode;
interface Context {
  readonly capabilities?: { readonly addCapabilities: string[] };
  readonly namespaceOptions?: { readonly pid: NamespaceMode; readonly targetId?: string };
}

function secured(securityContext: Context): ContainerInit {
  return container({ linux: { securityContext } });
}

const tracer = { capabilities: { addCapabilities: ["SYS_PTRACE"] } };

describe('with ptrace_in_shared_pid = "refuse"', () => {
  let node: Node;
  let daemon: TestDaemon;
  const served = (): TestDaemon => daemon;

  before(async () => {
    node = await Node.startWithBusybox({ config: { runtime: { ptrace_in_shared_pid: "refuse" } } });
    daemon = node.daemon;
    openDirectories(daemon);
    // The first pod creates the bridge, which stays.
    await withPod(daemon, pod(), async () => undefined);
  });
  after(() => node[Symbol.asyncDispose]());

  test(
    "a container with SYS_PTRACE does not get into its pod's PID namespace",
    leakless(served, () =>
      inPod(daemon, pod({ pid: POD }), async (at) => {
        for (const capability of ["SYS_PTRACE", "CAP_SYS_PTRACE", "ALL"]) {
          const capabilities = { addCapabilities: [capability] };
          await assert.rejects(
            createIn(at, secured({ capabilities })),
            failsWith(code.failedPrecondition, /SYS_PTRACE.*runtime\.ptrace_in_shared_pid/),
          );
        }
        await runIn(at);
        await runIn(at, secured({ ...tracer, namespaceOptions: { pid: CONTAINER } }));
      }),
    ),
  );

  test(
    "no other container joins the PID namespace of a container with SYS_PTRACE",
    leakless(served, () =>
      inPod(daemon, pod({ pid: CONTAINER }), async (at) => {
        const [targetId, harmless] = [await runIn(at, secured(tracer)), await runIn(at)];
        const join = (id: string, context: Context = {}): Promise<string> =>
          createIn(at, secured({ ...context, namespaceOptions: { pid: TARGET, targetId: id } }));
        await assert.rejects(
          join(targetId),
          failsWith(code.failedPrecondition, /target_id names a container that has SYS_PTRACE/),
        );
        await assert.rejects(
          join(harmless, tracer),
          failsWith(code.failedPrecondition, /SYS_PTRACE is given/),
        );
        await assert.rejects(join("none"), failsWith(code.notFound, /target_id/));
        await join(harmless);
      }),
    ),
  );

  test(
    "a pod in a user namespace can have SYS_PTRACE, which has no effect on the node",
    leakless(served, () =>
      inPod(daemon, mapped({ pid: POD }), async (at) => {
        await runIn(at, secured(tracer));
      }),
    ),
  );
});

test("without the setting such containers are allowed, as in other runtimes", async () => {
  await using node = await Node.startWithBusybox();
  await inPod(node.daemon, pod({ pid: POD }), async (at) => {
    await runIn(at, secured(tracer));
  });
});
