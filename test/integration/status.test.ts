/**
 * PodSandboxStatus in each branch of containerd's sandbox_status.go, which defines its meaning: each with its real
 * cause, and davit's answer. status-sandboxer.test.ts has the branches that depend on a sandboxer.
 */
import assert from "node:assert/strict";
import { existsSync, symlinkSync, unlinkSync } from "node:fs";
import { describe, test } from "node:test";
import { NamespaceMode } from "../../src/gen/runtime/v1/api_pb.ts";
import {
  bare,
  code,
  failsWith,
  holderOf,
  infoOf,
  inside,
  launchDaemon,
  leakless,
  NODE,
  openDatabase,
  pinsOf,
  POD,
  pod,
  READY,
  removePod,
  runPod,
  statusOf,
  stopPod,
  takenAddresses,
  withPod,
} from "../support/suites/pods.ts";
import {
  infoKeys,
  plainConfig,
  plain,
  serveBoth,
  ofPlain,
  checkKept,
  unmountByHand,
  untilNotReady,
} from "../support/suites/two-daemons.ts";

serveBoth();

describe("PodSandboxStatus", () => {
  test(
    "branch 1: a missing sandbox is NotFound, an empty or ambiguous id InvalidArgument, a unique prefix is accepted",
    leakless(ofPlain, async () => {
      await assert.rejects(statusOf(plain, "f".repeat(64)), failsWith(code.notFound, /"f{64}"/));
      await assert.rejects(statusOf(plain, ""), failsWith(code.invalidArgument, /empty/));
      const ids: string[] = [];
      for (let count = 0; count < 17; count++) ids.push(await runPod(plain, bare()));
      const digits = ids.map((id) => id.slice(0, 1));
      const shared = digits.find((digit, at) => digits.indexOf(digit) !== at) ?? "";
      await assert.rejects(statusOf(plain, shared), failsWith(code.invalidArgument, /several/));
      assert.equal((await statusOf(plain, ids[0]?.slice(0, 30) ?? "")).id, ids[0]);
      for (const id of ids) await removePod(plain, id);
    }),
  );

  test(
    "branch 2: a pod on the host's network has no address and no network namespace",
    leakless(ofPlain, () =>
      withPod(plain, pod({ network: NODE, pid: POD }), async (id) => {
        const status = await statusOf(plain, id);
        assert.equal(status.state, READY);
        assert.equal(status.network?.ip, "");
        assert.deepEqual(status.network.additionalIps, []);
        assert.equal((await infoOf(plain, id))["netNamespaceClosed"], false);
      }),
    ),
  );

  test(
    "branch 3: a namespace that cannot be inspected is reported as closed, without an error",
    leakless(ofPlain, () =>
      withPod(plain, pod(), async (id) => {
        const { net } = pinsOf(plain, id);
        await unmountByHand(plain, net);
        // From here on, its inspection fails (ELOOP).
        unlinkSync(net);
        symlinkSync(net, net);
        const status = await untilNotReady(plain, id);
        assert.equal(status.network?.ip, "");
        unlinkSync(net);
      }),
    ),
  );

  test(
    "branch 4: a namespace that was unmounted means no address and NOTREADY within 2 s",
    leakless(ofPlain, async () => {
      for (const pid of [POD, NODE]) {
        const id = await runPod(plain, pod({ pid }));
        assert.notEqual((await statusOf(plain, id)).network?.ip, "");
        await unmountByHand(plain, pinsOf(plain, id).net);
        const status = await untilNotReady(plain, id);
        assert.equal(status.network?.ip, "");
        assert.deepEqual(status.network.additionalIps, []);
        const info = await infoOf(plain, id);
        assert.equal(info["netNamespaceClosed"], true);
        await stopPod(plain, id);
        await removePod(plain, id);
      }
      assert.deepEqual(await takenAddresses(plain), []);
    }),
  );

  test(
    "branch 4: after a Stop there is no address either",
    leakless(ofPlain, async () => {
      const id = await runPod(plain, pod());
      await stopPod(plain, id);
      const status = await statusOf(plain, id);
      assert.equal(status.network?.ip, "");
      assert.deepEqual(status.network.additionalIps, []);
      assert.equal((await infoOf(plain, id))["netNamespaceClosed"], true);
      await removePod(plain, id);
    }),
  );

  test(
    "branch 5: the addresses are those of its creation, even if they have changed",
    leakless(ofPlain, () =>
      withPod(plain, pod(), async (id) => {
        const begun = await statusOf(plain, id);
        assert.equal(begun.network?.additionalIps.length, 1);
        await inside(plain, id, ["net"], "ip", "address", "flush", "dev", "eth0");
        checkKept(await statusOf(plain, id), begun);
      }),
    ),
  );

  test("branch 6: a handler that is no longer configured breaks nothing", async () => {
    const config = pod({ pid: POD });
    const id = await runPod(plain, config, "extra");
    const begun = await statusOf(plain, id);
    assert.equal(begun.runtimeHandler, "extra");
    const stopped = await runPod(plain, pod(), "extra");
    await plain.stop();
    plain.writeConfig({});
    await launchDaemon(plain);
    await assert.rejects(runPod(plain, pod(), "extra"), failsWith(code.invalidArgument, /"extra"/));
    checkKept(await statusOf(plain, id), begun);
    assert.equal((await statusOf(plain, id)).state, READY);
    assert.equal((await infoOf(plain, id))["runtimeHandler"], "extra");
    await stopPod(plain, stopped);
    for (const each of [id, stopped]) await removePod(plain, each);
    assert.deepEqual(await takenAddresses(plain), []);
    await plain.stop();
    plain.writeConfig(plainConfig);
    await launchDaemon(plain);
  });

  test("branch 11: a record that lost its creation time has that of its first write", async () => {
    const id = await runPod(plain, pod({ pid: POD }));
    const begun = await statusOf(plain, id);
    await plain.stop();
    {
      using database = openDatabase(plain);
      database
        .prepare("UPDATE sandbox SET state = json_remove(state, '$.createdAtNs') WHERE id = ?")
        .run(id);
    }
    await launchDaemon(plain);
    const status = await statusOf(plain, id);
    assert.equal(status.state, READY);
    const shift = status.createdAt - begun.createdAt;
    assert.ok(shift > -1_000_000_000n && shift < 1_000_000_000n, String(status.createdAt));
    const { items } = await plain.client.runtime.listPodSandbox({ filter: { id } });
    assert.equal(items[0]?.createdAt, status.createdAt);
    checkKept({ ...status, createdAt: begun.createdAt }, begun);
    await removePod(plain, id);
  });

  test(
    "branch 12: all namespace options come back, target and user namespace included",
    leakless(ofPlain, async () => {
      for (const [network, pid, ipc] of [
        [POD, POD, POD],
        [NODE, NODE, NODE],
        [NODE, NamespaceMode.CONTAINER, POD],
      ] as const) {
        const config = pod({ network, pid, ipc });
        const options = config.linux?.securityContext?.namespaceOptions;
        assert.ok(options !== undefined);
        options.targetId = "0123";
        options.usernsOptions = {
          $typeName: "runtime.v1.UserNamespace",
          mode: NODE,
          uids: [],
          gids: [],
        };
        await withPod(plain, config, async (id) => {
          const { linux } = await statusOf(plain, id);
          assert.deepEqual(linux?.namespaces?.options, options);
        });
      }
    }),
  );

  test(
    "branch 13: metadata is that of the request, timestamp and containers are current",
    leakless(ofPlain, async () => {
      const config = bare({ labels: { a: "b" }, annotations: { c: "d" } });
      await withPod(
        plain,
        config,
        async (podSandboxId) => {
          const begin = BigInt(Date.now()) * 1_000_000n;
          const answer = await plain.client.runtime.podSandboxStatus({ podSandboxId });
          const { status } = answer;
          assert.equal(status?.id, podSandboxId);
          assert.deepEqual(status.metadata, config.metadata);
          assert.deepEqual(status.labels, config.labels);
          assert.deepEqual(status.annotations, config.annotations);
          assert.equal(status.runtimeHandler, "runc");
          assert.ok(answer.timestamp >= begin && answer.timestamp < begin + 10_000_000_000n);
          assert.deepEqual(answer.containersStatuses, []);
        },
        "runc",
      );
    }),
  );

  test(
    "branch 14: info is returned only if requested: one JSON text with containerd's keys",
    leakless(ofPlain, async () => {
      const config = pod({ pid: POD });
      await withPod(plain, config, async (id) => {
        const quiet = await plain.client.runtime.podSandboxStatus({ podSandboxId: id });
        assert.deepEqual(quiet.info, {});
        const info = await infoOf(plain, id);
        for (const key of infoKeys) assert.ok(key in info, `info has no "${key}"`);
        const pid = await holderOf(plain, id);
        const { ip } = (await statusOf(plain, id)).network ?? {};
        assert.equal(info["processStatus"], "running");
        assert.equal(info["netNamespaceClosed"], false);
        assert.equal(info["runtimeHandler"], "crun");
        assert.equal(
          (info["config"] as { metadata: { name: string } }).metadata.name,
          config.metadata?.name,
        );
        const spec = info["runtimeSpec"] as {
          linux: { cgroupsPath: string; namespaces: { type: string; path: string }[] };
        };
        assert.equal(spec.linux.cgroupsPath, `${config.linux?.cgroupParent ?? ""}/${id}`);
        const paths = Object.fromEntries(
          spec.linux.namespaces.map(({ type, path: at }) => [type, at]),
        );
        const { net, ipc, uts } = pinsOf(plain, id);
        assert.deepEqual(paths, { network: net, ipc, uts, pid: `/proc/${pid}/ns/pid` });
        for (const at of Object.values(paths)) assert.ok(existsSync(at), at);
        const result = info["cniResult"] as {
          Interfaces: Record<string, { IPConfigs: { IP: string }[]; Sandbox: string }>;
        };
        assert.equal(result.Interfaces["eth0"]?.IPConfigs[0]?.IP, ip);
        assert.equal(result.Interfaces["eth0"]?.Sandbox, net);
        // containerd's own readers unmarshal this, and reject it without the version.
        const record = info["sandboxMetadata"] as {
          Version: string;
          Metadata: Record<string, unknown>;
        };
        assert.equal(record.Version, "v1");
        assert.equal(record.Metadata["ID"], id);
        assert.equal(record.Metadata["IP"], ip);
        assert.equal(record.Metadata["NetNSPath"], net);
        assert.deepEqual(record.Metadata["Config"], info["config"]);
        assert.deepEqual(record.Metadata["CNIResult"], info["cniResult"]);
      });
    }),
  );

  test(
    "branch 14: a pod without a holder has pid 0, and all keys also after its Stop",
    leakless(ofPlain, async () => {
      const id = await runPod(plain, pod());
      assert.equal((await infoOf(plain, id))["pid"], 0);
      await stopPod(plain, id);
      const info = await infoOf(plain, id);
      assert.equal(info["processStatus"], "deleted");
      assert.equal(info["netNamespaceClosed"], true);
      for (const key of ["config", "cniResult", "sandboxMetadata"]) assert.ok(key in info, key);
      await removePod(plain, id);
    }),
  );
});
