import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { isKind } from "../base/errors.ts";
import { UlimitSchema } from "../gen/runtime/v1/api_pb.ts";
import { startedProcess } from "./json.ts";
import { containerSpec } from "./generate.ts";
import { parseSpec, specText } from "./json.ts";
import { containerProcess } from "./process.ts";
import { specInput, testHost } from "./testing/spec-input.ts";
import { checkUlimits, parseHardLimits, requestedRlimits } from "./ulimits.ts";

const infinity = 2n ** 64n - 1n;
const limit = (name: string, soft: bigint, hard: bigint) =>
  create(UlimitSchema, { name, soft, hard });

describe("checkUlimits()", () => {
  test("accepts the names of the KEP, with and without a limit", () => {
    const names = ["nofile", "memlock", "core", "nice", "rtprio", "stack"];
    checkUlimits(names.map((name) => limit(name, 0n, -1n)));
    checkUlimits([limit("core", -1n, -1n), limit("stack", 5n, 5n)]);
  });

  test("refuses what cannot be meant", () => {
    for (const [ulimits, why] of [
      [[limit("nproc", 1n, 1n)], /"nproc" is unknown; the names are nofile, memlock, core, nice/],
      [[limit("RLIMIT_NOFILE", 1n, 1n)], /is unknown/],
      [[limit("toString", 1n, 1n)], /is unknown/],
      [[limit("core", 1n, 1n), limit("core", 1n, 1n)], /"core" is set twice/],
      [[limit("core", 0n, -2n)], /core must be -1 for no limit, or 0 and more, got 0:-2/],
      [[limit("core", 2n, 1n)], /soft limit of core, 2, is above the hard one, 1/],
      [[limit("core", -1n, 1n)], /soft limit of core, -1, is above/],
    ] as const) {
      assert.throws(
        () => checkUlimits(ulimits),
        (error) => isKind(error, "invalid-argument") && why.test(String(error)),
        String(why),
      );
    }
  });
});

describe("requestedRlimits()", () => {
  test("names them as the OCI runtime does, and gives nofile the kernel's maximum", () => {
    const ulimits = [limit("nofile", 100n, -1n), limit("memlock", -1n, -1n)];
    assert.deepEqual(requestedRlimits(ulimits, { maxOpenFiles: 1_048_576n }), [
      { type: "RLIMIT_NOFILE", soft: 100n, hard: 1_048_576n },
      { type: "RLIMIT_MEMLOCK", soft: infinity, hard: infinity },
    ]);
  });

  test("refuses what the kernel would refuse on this node", () => {
    const host = {
      maxOpenFiles: 1000n,
      hardLimits: { RLIMIT_MEMLOCK: 64n, RLIMIT_CORE: infinity },
    };
    for (const [ulimit, why] of [
      [limit("nofile", 1n, 1001n), /nofile is 1001, but the kernel allows 1000; raise fs.nr_open/],
      [limit("memlock", 1n, 65n), /memlock is 65, but davit has no CAP_SYS_RESOURCE.* is 64;/],
      [limit("memlock", 1n, -1n), /memlock is -1/],
    ] as const) {
      assert.throws(
        () => requestedRlimits([ulimit], host),
        (error) => isKind(error, "failed-precondition") && why.test(String(error)),
      );
    }
    const fine = [limit("nofile", 1n, 1000n), limit("memlock", 1n, 64n), limit("core", -1n, -1n)];
    assert.equal(requestedRlimits(fine, host).length, 3);
  });
});

test("parseHardLimits() reads proc_pid_limits(5)", () => {
  const text = [
    "Limit                     Soft Limit           Hard Limit           Units     ",
    "Max stack size            8388608              unlimited            bytes     ",
    "Max core file size        0                    unlimited            bytes     ",
    "Max open files            1024                 20000                files     ",
    "Max locked memory         8388608              8388608              bytes     ",
    "Max nice priority         0                    0                    ",
    "Max realtime priority     0                    99                   ",
  ].join("\n");
  assert.deepEqual(parseHardLimits(text), {
    RLIMIT_NOFILE: 20_000n,
    RLIMIT_MEMLOCK: 8_388_608n,
    RLIMIT_CORE: infinity,
    RLIMIT_NICE: 0n,
    RLIMIT_RTPRIO: 99n,
    RLIMIT_STACK: infinity,
  });
  assert.deepEqual(parseHardLimits(""), {});
});

describe("a container with ulimits", () => {
  const ulimits = [limit("nofile", 10n, 20n), limit("memlock", -1n, -1n)];
  const input = specInput({ linux: { securityContext: { ulimits } } });

  test("has them instead of those of the node and of the base", () => {
    const nodes = { type: "RLIMIT_NOFILE", soft: 1n, hard: 1n };
    const core = { type: "RLIMIT_CORE", soft: 0n, hard: 0n };
    const { rlimits } = containerProcess({ ...input, rlimits: [nodes, core] });
    assert.deepEqual(rlimits?.[0], core);
    assert.deepEqual(rlimits[1], { type: "RLIMIT_NOFILE", soft: 10n, hard: 20n });
    const base = { process: { rlimits: [nodes, core] } };
    const merged = containerSpec({ ...input, base }).process.rlimits;
    assert.deepEqual(
      merged?.find(({ type }) => type === "RLIMIT_NOFILE"),
      { type: "RLIMIT_NOFILE", soft: 10n, hard: 20n },
    );
    assert.ok(merged.includes(core));
    assert.equal(containerProcess(specInput({}, { host: testHost })).rlimits, undefined);
  });

  test("still has them where its spec was read from a file", () => {
    const spec = containerSpec(input);
    assert.deepEqual(startedProcess(parseSpec(specText(spec))).rlimits, spec.process.rlimits);
  });
});
