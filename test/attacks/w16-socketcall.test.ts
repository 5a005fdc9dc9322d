/**
 * socketcall, with which a 32-bit x86 program reaches socket families that the rules for socket deny: its arguments
 * are in memory, which a seccomp filter cannot read.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { SecurityProfile_ProfileType as ProfileType } from "../../src/gen/runtime/v1/api_pb.ts";
import { busybox, container, exec, Node, pull, runIn } from "../support/suites/containers.ts";
import { bare, leakless, withPod } from "../support/suites/pods.ts";
import type { TestDaemon } from "../support/daemon.ts";
import { busyboxLayer, imageOf } from "../support/images.ts";

const families = { AF_UNIX: 1, AF_ALG: 38, AF_VSOCK: 40 };
const ENOSYS = 38;

/**
 * A 32-bit ELF program: socketcall(SYS_SOCKET, {family, type, 0}), whose exit code is the errno, or
 * the negative of the descriptor that it got.
 */
function socketProgram(family: number, type: number): Buffer {
  const base = 0x0804_8000;
  const headers = 52 + 32;
  const code = (argumentsAt: number): Buffer =>
    Buffer.from([
      ...[0xb8, ...word(102)], // mov eax, socketcall
      ...[0xbb, ...word(1)], // mov ebx, SYS_SOCKET
      ...[0xb9, ...word(argumentsAt)], // mov ecx, the arguments
      ...[0xcd, 0x80], // int 0x80
      ...[0x89, 0xc3, 0xf7, 0xdb], // mov ebx, eax; neg ebx
      ...[0xb8, ...word(1)], // mov eax, exit
      ...[0xcd, 0x80],
      ...[...word(family), ...word(type), ...word(0)],
    ]);
  const { length } = code(0);
  const body = code(base + headers + length - 12);
  const size = headers + length;
  return Buffer.concat([
    // Elf32_Ehdr and Elf32_Phdr, elf(5).
    Buffer.from([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    Buffer.from([2, 0, 3, 0, ...[1, base + headers, 52, 0, 0].flatMap(word)]),
    Buffer.from([52, 0, 32, 0, 1, 0, 0, 0, 0, 0, 0, 0]),
    Buffer.from([1, 0, base, base, size, size, 5, 0x1000].flatMap(word)),
    body,
  ]);
}

function word(value: number): readonly number[] {
  return [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24];
}

const programs = Object.entries(families).map(([name, family]) => ({
  path: `bin/${name}`,
  // SOCK_SEQPACKET is what AF_ALG has, SOCK_STREAM what the others have.
  body: socketProgram(family, name === "AF_ALG" ? 5 : 1),
  mode: 0o755,
}));

const secured = container({
  linux: { securityContext: { seccomp: { profileType: ProfileType.RuntimeDefault } } },
});

/** The errno of each family's program, or the negative of its descriptor, as an exit code. */
async function answers(daemon: TestDaemon, runtimeHandler: string): Promise<readonly number[]> {
  const config = bare();
  const codes: number[] = [];
  await withPod(
    daemon,
    config,
    async (id) => {
      const running = await runIn({ daemon, id, config }, secured);
      for (const { path } of programs) {
        codes.push((await exec(daemon, running, [`/${path}`])).exitCode);
      }
    },
    runtimeHandler,
  );
  return codes;
}

for (const allowed of [false, true]) {
  describe(`socketcall with seccomp_allow_socketcall = ${String(allowed)}`, {
    skip: runsPrograms() ? false : "this kernel runs no 32-bit x86 programs",
  }, () => {
    let node: Node;
    before(async () => {
      node = await Node.start({
        config: { runtime: { seccomp_allow_socketcall: allowed } },
      });
      const image = imageOf([busyboxLayer("gzip", programs)], { Env: ["PATH=/bin"] });
      await node.registry.push("e2e/busybox", image, ["1"]);
      await pull(node.daemon, busybox);
    });
    after(() => node[Symbol.asyncDispose]());

    for (const handler of ["crun", "runc"]) {
      test(
        `under ${handler}`,
        leakless(
          () => node.daemon,
          async () => {
            const [unix = 0, ...others] = await answers(node.daemon, handler);
            if (allowed) assert.ok(unix > 128, `socketcall gave no descriptor: ${unix}`);
            else assert.deepEqual([unix, ...others], [ENOSYS, ENOSYS, ENOSYS]);
          },
        ),
      );
    }
  });
}

/** Whether the kernel runs such a program (CONFIG_IA32_EMULATION): this one without a filter. */
function runsPrograms(): boolean {
  const file = path.join(mkdtempSync(path.join(tmpdir(), "davit-socketcall-")), "program");
  try {
    writeFileSync(file, socketProgram(families.AF_UNIX, 1), { mode: 0o755 });
    return (spawnSync(file).status ?? 0) > 128;
  } finally {
    rmSync(path.dirname(file), { recursive: true });
  }
}
