/** Pods in a user namespace: what their status says, and which requests are refused. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { PodSandboxConfig } from "../../src/gen/runtime/v1/api_pb.ts";
import { container, inPod, requestIn } from "../support/suites/containers.ts";
import {
  CONTAINER,
  code,
  failsWith,
  infoOf,
  leakless,
  mapped,
  listIds,
  NODE,
  pinsOf,
  POD,
  userRange as range,
  runPod,
  statusOf,
  withPod,
} from "../support/suites/pods.ts";
import { daemon, served, serveMappedPods } from "../support/suites/mapped-pods.ts";

const { hostId: first, length } = range;

serveMappedPods();

describe("status", () => {
  test(
    "has the ids of a pod, and the path of its user namespace",
    leakless(served, () =>
      withPod(daemon, mapped(), async (id) => {
        const { linux } = await statusOf(daemon, id);
        const options = linux?.namespaces?.options?.usernsOptions;
        assert.equal(options?.mode, POD);
        const ranges = [options.uids, options.gids].map(([one]) => [
          one?.containerId,
          one?.hostId,
          one?.length,
        ]);
        assert.deepEqual(ranges, Array(2).fill([0, first, length]));
        const { runtimeSpec } = await infoOf(daemon, id);
        const user = { type: "user", path: pinsOf(daemon, id).user };
        const { namespaces } = (runtimeSpec as { linux: { namespaces: object[] } }).linux;
        assert.deepEqual(namespaces[0], user);
      }),
    ),
  );

  test("offers user namespaces for the handlers whose runtime has id-mapped mounts", async () => {
    const { runtimeHandlers } = await daemon.client.runtime.status({});
    const offered = Object.fromEntries(
      runtimeHandlers.map(({ name, features }) => [name, features?.userNamespaces]),
    );
    assert.equal(offered[""], true);
    assert.equal(offered["crun"], true);
    assert.equal(offered["runc"], false);
  });
});

describe("refusals", () => {
  const bad: Readonly<Record<string, readonly [() => PodSandboxConfig, RegExp]>> = {
    "no mapping": [
      () => mapped({}, { uids: [] }),
      /userns_options\.uids must be one mapping, got 0/,
    ],
    "two mappings": [() => mapped({}, { gids: [range, range] }), /gids must be one mapping, got 2/],
    "no id 0": [
      () => mapped({}, { uids: [{ ...range, containerId: 1 }] }),
      /uids must begin with container_id 0, got 1/,
    ],
    "an empty range": [() => mapped({}, { gids: [{ ...range, length: 0 }] }), /gids has length 0/],
    "a range past the last id": [
      () => mapped({}, { uids: [{ ...range, hostId: 4_294_967_295 }] }),
      /uids must end below 4294967295/,
    ],
    "ids of the node's own namespace": [() => mapped({}, { mode: NODE }), /mode NODE cannot have/],
    "mode CONTAINER": [
      () => mapped({}, { mode: CONTAINER }),
      /mode must be POD or NODE, got CONTAINER/,
    ],
    "the node's processes": [() => mapped({ pid: NODE }), /pid NODE cannot/],
    "the node's IPC": [() => mapped({ ipc: NODE }), /ipc NODE cannot/],
  };
  for (const [what, [config, why]] of Object.entries(bad)) {
    test(
      what,
      leakless(served, async () => {
        await assert.rejects(runPod(daemon, config()), failsWith(code.invalidArgument, why));
        assert.deepEqual(await listIds(daemon), []);
      }),
    );
  }

  test(
    "a handler whose runtime cannot map mounts",
    leakless(served, async () => {
      await assert.rejects(
        runPod(daemon, mapped(), "runc"),
        failsWith(code.failedPrecondition, /handler "runc".*no id-mapped mounts/),
      );
      assert.deepEqual(await listIds(daemon), []);
    }),
  );

  test(
    "a container that is not in its pod's user namespace",
    leakless(served, () =>
      inPod(daemon, mapped(), async (pod) => {
        const other = mapped({}, { uids: [{ ...range, hostId: first + 1 }] });
        for (const namespaceOptions of [{}, other.linux?.securityContext?.namespaceOptions ?? {}]) {
          const config = container({ linux: { securityContext: { namespaceOptions } } });
          await assert.rejects(
            daemon.client.runtime.createContainer(requestIn(pod, config)),
            failsWith(code.invalidArgument, /userns_options is not that of the pod/),
          );
        }
      }),
    ),
  );
});
