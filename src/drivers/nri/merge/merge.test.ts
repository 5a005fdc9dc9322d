import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  type ContainerAdjustment,
  CreateContainerRequestSchema,
  CreateContainerResponseSchema,
  Field,
  StopContainerResponseSchema,
  UpdateContainerRequestSchema,
  UpdateContainerResponseSchema,
} from "../../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import { apply, bind, newContainer } from "../testing/created.ts";
import { CreateResult, StopResult, UpdateResult } from "./index.ts";

function collected({ adjustment }: CreateResult): ContainerAdjustment {
  assert.ok(adjustment);
  return adjustment;
}

const names = (mounts: readonly { readonly destination: string }[] | undefined) =>
  mounts?.map(({ destination }) => destination);

describe("CreateResult", () => {
  test("without adjustments there is none, and the request stays as it was", () => {
    const request = create(CreateContainerRequestSchema, { container: { id: "c1" } });
    const result = new CreateResult(request);
    apply(result, {});
    apply(
      result,
      { hooks: {}, linux: { resources: { cpu: {}, memory: {} }, devices: [] } },
      "20-b",
    );
    assert.equal(result.adjustment, undefined);
    apply(result, { env: [{ key: "A", value: "1" }] });
    assert.deepEqual(request, create(CreateContainerRequestSchema, { container: { id: "c1" } }));
  });

  test("the next plugin is shown what this one changed", () => {
    const result = newContainer({
      annotations: { a: "1", b: "2" },
      mounts: [bind("/old"), bind("/kept")],
      env: ["OLD=1", "SAME=1", "KEPT=1"],
      args: ["first"],
      rlimits: [{ type: "RLIMIT_CORE", soft: 1n, hard: 1n }],
      hooks: { poststop: [{ path: "/first" }] },
      linux: {
        devices: [{ path: "/dev/old" }],
        namespaces: [{ type: "ipc" }, { type: "pid" }],
        sysctl: { "a.b": "1" },
        resources: { hugepageLimits: [{ pageSize: "2MB", limit: 1n }] },
        rdt: { closId: { value: "silver" } },
      },
    });
    apply(result, {
      annotations: { "-a": "", b: "3" },
      mounts: [bind("/new"), { destination: "-/old" }],
      env: [{ key: "-OLD" }, { key: "SAME", value: "2" }],
      args: ["second"],
      rlimits: [{ type: "RLIMIT_CORE", soft: 2n, hard: 2n }],
      hooks: { poststop: [{ path: "/second" }] },
      linux: {
        devices: [{ path: "-/dev/old" }, { path: "/dev/new", type: "c" }],
        namespaces: [{ type: "-ipc" }, { type: "network", path: "/n" }],
        sysctl: { "-a.b": "", "a.c": "2" },
        resources: {
          hugepageLimits: [{ pageSize: "2MB", limit: 2n }],
          cpu: { shares: { value: 7n } },
        },
        rdt: { remove: true, enableMonitoring: { value: true } },
      },
    });
    const shown = result.request.container;
    assert.deepEqual(shown?.annotations, { b: "3" });
    assert.deepEqual(names(shown.mounts), ["/kept", "/new"]);
    assert.deepEqual(shown.env, ["KEPT=1", "SAME=2"]);
    assert.deepEqual(shown.args, ["second"]);
    assert.deepEqual(
      shown.rlimits.map(({ soft }) => soft),
      [2n],
    );
    assert.deepEqual(
      shown.hooks?.poststop.map(({ path }) => path),
      ["/first", "/second"],
    );
    const { linux } = shown;
    assert.deepEqual(
      linux?.devices.map(({ path }) => path),
      ["/dev/new"],
    );
    assert.deepEqual(linux.namespaces.map(({ type }) => type).toSorted(), ["network", "pid"]);
    assert.deepEqual(linux.sysctl, { "a.c": "2" });
    assert.equal(linux.resources?.hugepageLimits.length, 1);
    assert.equal(linux.resources.cpu?.shares?.value, 7n);
    assert.equal(linux.rdt?.closId, undefined);
    assert.equal(linux.rdt?.enableMonitoring?.value, true);
  });

  test("a removal stays for the spec, once, until the entry is set again", () => {
    const result = newContainer();
    apply(result, { mounts: [{ destination: "-/x" }, { destination: "-/x/" }] });
    apply(result, { mounts: [{ destination: "-/x" }], env: [{ key: "-A" }] }, "20-b");
    assert.deepEqual(names(collected(result).mounts), ["-/x"]);
    apply(result, { mounts: [bind("/x")], annotations: { "-k": "" } }, "30-c");
    assert.deepEqual(names(collected(result).mounts), ["/x"]);
    apply(result, { annotations: { k: "1" } }, "40-d");
    assert.deepEqual(collected(result).annotations, { k: "1" });
    assert.deepEqual(
      collected(result).env.map(({ key }) => key),
      ["-A"],
    );
  });

  test("names that objects of JavaScript have are names like others", () => {
    const result = newContainer();
    for (const key of ["__proto__", "constructor", "toString"]) {
      apply(result, { env: [{ key, value: "1" }] });
      assert.throws(() => {
        apply(result, { env: [{ key, value: "2" }] }, "20-b");
      }, /"10-a" and "20-b" both set Env/);
    }
    const owners = result.owners.owners["c1"]?.compound[Field.Env]?.owners;
    assert.deepEqual(Object.keys(owners ?? {}), ["__proto__", "constructor", "toString"]);
  });

  test("a plugin that sets an entry twice is told so, and paths are compared in their shortest form", () => {
    assert.throws(() => {
      apply(newContainer(), { mounts: [bind("/x"), bind("//x/./")] });
    }, /NRI plugin "10-a" sets Mounts "\/x" twice/);
  });

  test("validators get the container before all adjustments, with these and their owners", () => {
    const result = newContainer({ env: ["A=1"] });
    apply(result, { env: [{ key: "A", value: "2" }], hooks: { prestart: [{ path: "/h" }] } });
    apply(result, { hooks: { poststop: [{ path: "/h" }] } }, "20-b");
    const request = result.validation([]);
    assert.deepEqual(request.container?.env, ["A=1"]);
    assert.equal(request.adjust?.env[0]?.value, "2");
    assert.equal(request.owners?.owners["c1"]?.simple[Field.OciHooks], "10-a,20-b");
  });

  test("other containers: updates are merged by container, evictions once", () => {
    const result = newContainer();
    const update = (containerId: string, shares: bigint, ignoreFailure = false) => ({
      containerId,
      ignoreFailure,
      linux: { resources: { cpu: { shares: { value: shares } } } },
    });
    const answer = (init: MessageInitShape<typeof CreateContainerResponseSchema>) =>
      create(CreateContainerResponseSchema, init);
    result.apply(answer({ update: [update("c2", 5n, true), update("c3", 6n)] }), "10-a");
    result.apply(
      answer({
        update: [
          { containerId: "c2", linux: { resources: { pids: { limit: 9n } } } },
          update("c3", 7n, true),
        ],
        evict: [
          { containerId: "c4", reason: "first" },
          { containerId: "c4", reason: "second" },
        ],
      }),
      "20-b",
    );
    const [c2, c3, ...none] = result.updates;
    assert.deepEqual(none, []);
    assert.equal(c2?.linux?.resources?.cpu?.shares?.value, 5n);
    assert.equal(c2.linux.resources.pids?.limit, 9n);
    assert.equal(c2.ignoreFailure, false);
    assert.equal(c3?.linux?.resources?.cpu?.shares?.value, 6n);
    assert.deepEqual(
      result.evictions.map(({ reason, plugin }) => `${plugin}: ${reason}`),
      ["20-b: first"],
    );
    assert.throws(() => {
      result.apply(answer({ update: [update("c3", 8n)] }), "30-c");
    }, /container "c3": NRI plugins "10-a" and "30-c" both set CPUShares/);
    for (const wrong of [
      { update: [update("c1", 1n, true)] },
      { update: [update("", 1n)] },
      { evict: [{ containerId: "c1" }] },
      { evict: [{ containerId: "" }] },
    ]) {
      assert.throws(() => {
        result.apply(answer(wrong), "30-c");
      }, /apply the answer of NRI plugin "30-c" to container "c1"/);
    }
  });

  test("an ignored update leaves nothing of itself", () => {
    const result = newContainer();
    const answer = (init: MessageInitShape<typeof CreateContainerResponseSchema>) =>
      create(CreateContainerResponseSchema, init);
    const shares = { shares: { value: 5n } };
    const of = (resources: object, ignoreFailure = false) => ({
      update: [{ containerId: "c2", ignoreFailure, linux: { resources } }],
    });
    result.apply(answer(of({ cpu: shares })), "10-a");
    result.apply(answer(of({ memory: { limit: { value: 1n } }, cpu: shares }, true)), "20-b");
    result.apply(answer(of({ cpu: { cpus: "x" } }, true)), "20-b");
    result.apply(answer(of({ memory: { limit: { value: 2n } } })), "30-c");
    assert.equal(result.updates[0]?.linux?.resources?.memory?.limit?.value, 2n);
  });
});

describe("UpdateResult and StopResult", () => {
  test("the request's resources are changed field by field, others are collected", () => {
    const request = create(UpdateContainerRequestSchema, {
      container: { id: "c1" },
      linuxResources: { cpu: { shares: { value: 2n }, quota: { value: 5000n } } },
    });
    const result = new UpdateResult(request);
    const answer = (id: string, resources: object) =>
      create(UpdateContainerResponseSchema, {
        update: [{ containerId: id, linux: { resources } }],
      });
    result.apply(answer("c1", { cpu: { shares: { value: 3n } }, pids: { limit: 4n } }), "10-a");
    result.apply(answer("c2", { cpu: { shares: { value: 9n } } }), "20-b");
    assert.equal(result.resources.cpu?.shares?.value, 3n);
    assert.equal(result.resources.cpu.quota?.value, 5000n);
    assert.equal(result.resources.pids?.limit, 4n);
    assert.equal(result.request.linuxResources, result.resources);
    assert.equal(request.linuxResources?.cpu?.shares?.value, 2n);
    assert.deepEqual(
      result.updates.map(({ containerId }) => containerId),
      ["c2"],
    );
    assert.equal(result.owners.owners["c1"]?.simple[Field.CPUShares], "10-a");
    assert.throws(() => {
      result.apply(answer("c1", { cpu: { shares: { value: 4n } } }), "20-b");
    }, /"10-a" and "20-b" both set CPUShares/);
    assert.throws(() => {
      result.apply(answer("c1", { devices: [{ allow: true, access: "r" }] }), "20-b");
    }, /resources\.devices: an update cannot change them/);
  });

  test("a stop collects updates, and refuses the same as the others", () => {
    const result = new StopResult();
    const answer = create(StopContainerResponseSchema, {
      update: [{ containerId: "c2", linux: { resources: { cpu: { cpus: "1" } } } }],
    });
    result.apply(answer, "10-a");
    assert.equal(result.updates[0]?.linux?.resources?.cpu?.cpus, "1");
    assert.throws(() => {
      result.apply(answer, "20-b");
    }, /both set CPUSetCPUs/);
  });
});
