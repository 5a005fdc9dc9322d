/** A container with a limit of its writable layer tries to move its files to another project, which ends the limit. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { SecurityProfile_ProfileType as ProfileType } from "../../src/gen/runtime/v1/api_pb.ts";
import { busyboxLayer, imageOf } from "../support/images.ts";
import { busybox, container, exec, Node, pull, runIn } from "../support/suites/containers.ts";
import { bare, leakless, withPod } from "../support/suites/pods.ts";

const [EPERM, EFAULT, ENOTTY] = [1, 14, 25];
/** Requests with what they answer without a filter, for no argument: the kernel uses 32 bits of a request. */
const requests = [
  { name: "fssetxattr", request: 0x401c_5820n, without: EFAULT },
  { name: "fssetxattr-high", request: 0x1_401c_5820n, without: EFAULT },
  { name: "setflags", request: 0x4008_6602n, without: EFAULT },
  { name: "terminal", request: 0x5401n, without: ENOTTY },
] as const;

/** An ELF program for x86-64: its exit code is the errno of ioctl(open("/"), request, NULL). */
function ioctlProgram(request: bigint): Buffer {
  const base = 0x40_0000;
  const code = (pathAt: number): Buffer =>
    Buffer.concat([
      Buffer.from([0xb8, 2, 0, 0, 0, 0xbf]), // mov eax, open; mov edi, the path
      number(4, pathAt),
      Buffer.from([0x31, 0xf6, 0x0f, 0x05]), // xor esi, esi; syscall
      Buffer.from([0x89, 0xc7, 0x48, 0xbe]), // mov edi, eax; mov rsi, the request
      number(8, request),
      Buffer.from([0x31, 0xd2, 0xb8, 16, 0, 0, 0, 0x0f, 0x05]), // xor edx, edx; mov eax, ioctl; syscall
      Buffer.from([0x89, 0xc7, 0xf7, 0xdf, 0xb8, 60, 0, 0, 0, 0x0f, 0x05]), // exit(-eax)
      Buffer.from("/\0"),
    ]);
  const headers = 64 + 56;
  const { length } = code(0);
  const size = headers + length;
  return Buffer.concat([
    // Elf64_Ehdr and Elf64_Phdr, elf(5).
    Buffer.from([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 62, 0]),
    number(4, 1),
    ...[base + headers, 64, 0].map((value) => number(8, value)),
    Buffer.from([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]),
    ...[1, 5].map((value) => number(4, value)),
    ...[0, base, base, size, size, 0x1000].map((value) => number(8, value)),
    code(base + size - 2),
  ]);
}

function number(bytes: 4 | 8, value: number | bigint): Buffer {
  const into = Buffer.alloc(8);
  into.writeBigUInt64LE(BigInt(value));
  return into.subarray(0, bytes);
}

const programs = requests.map(({ name, request }) => ({
  path: `bin/${name}`,
  body: ioctlProgram(request),
  mode: 0o755,
}));

for (const isLimited of [true, false]) {
  describe(`a container ${isLimited ? "with" : "without"} a limit`, {
    skip: process.arch === "x64" ? false : "the programs are for x86-64",
  }, () => {
    let node: Node;
    before(async () => {
      const limit = isLimited ? { writable_layer_limit: 2 ** 30 } : {};
      node = await Node.start({ config: { runtime: limit } });
      const image = imageOf([busyboxLayer("gzip", programs)], { Env: ["PATH=/bin"] });
      await node.registry.push("e2e/busybox", image, ["1"]);
      await pull(node.daemon, busybox);
    });
    after(() => node[Symbol.asyncDispose]());

    for (const handler of ["crun", "runc"]) {
      for (const profile of ["RuntimeDefault", "Unconfined"] as const) {
        test(
          `under ${handler} with the profile ${profile}`,
          leakless(
            () => node.daemon,
            async () => {
              const config = bare();
              const seccomp = { profileType: ProfileType[profile] };
              const asked = container({ linux: { securityContext: { seccomp } } });
              const found: Record<string, number> = {};
              const look = async (id: string): Promise<void> => {
                const running = await runIn({ daemon: node.daemon, id, config }, asked);
                for (const { name } of requests) {
                  found[name] = (await exec(node.daemon, running, [`/bin/${name}`])).exitCode;
                }
              };
              await withPod(node.daemon, config, look, handler);
              const expected = requests.map(({ name, without }) => {
                const isDenied = isLimited && name !== "terminal";
                return [name, isDenied ? EPERM : without] as const;
              });
              assert.deepEqual(found, Object.fromEntries(expected));
            },
          ),
        );
      }
    }
  });
}
