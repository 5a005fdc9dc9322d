import assert from "node:assert/strict";
import { create } from "@bufbuild/protobuf";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, test } from "node:test";
import { type ContainerConfig, ContainerConfigSchema } from "../../gen/runtime/v1/api_pb.ts";
import { isKind } from "../../base/errors.ts";
import { ClientPaths } from "./client-paths.ts";
import { mountBelow, mountSources } from "./mount-sources.ts";

const dir = realpathSync(mkdtempSync(join(tmpdir(), "davit-sources-")));
after(() => {
  rmSync(dir, { recursive: true });
});
writeFileSync(join(dir, "file"), "");

const paths = new ClientPaths(() => Promise.resolve("/"));
const mounting = (...hostPaths: readonly (string | undefined)[]): ContainerConfig =>
  create(ContainerConfigSchema, {
    mounts: hostPaths.map((hostPath) =>
      hostPath === undefined ? { image: { image: "i" } } : { hostPath },
    ),
  });

test("mountSources() keeps the order, follows links and makes what is missing", async () => {
  mkdirSync(join(dir, "target"));
  symlinkSync("target", join(dir, "link"));
  const [link, missing] = [join(dir, "link"), join(dir, "not/there/yet")];
  const found = await mountSources(
    mounting(undefined, link, missing, undefined, link),
    ["/images/0", "/images/1"],
    paths,
  );
  const target = join(dir, "target");
  assert.deepEqual(found, ["/images/0", target, missing, "/images/1", target]);
  assert.ok(existsSync(missing));
});

test("mountSources() says why there is no source", async () => {
  symlinkSync("gone", join(dir, "dangling"));
  for (const [path, kind, message] of [
    [
      "dangling",
      "failed-precondition",
      /dangling": a symbolic link on this path leads to nothing; /,
    ],
    ["dangling/below", "failed-precondition", /below": a symbolic link on this path leads to/],
    [
      "/proc/davit-missing",
      "failed-precondition",
      /missing": it does not exist, and no directory can be made in "\/proc"; /,
    ],
    [
      "/proc/davit-missing/below",
      "failed-precondition",
      /below": it does not exist, and no directory can be made in "\/proc"; /,
    ],
    ["file/below", "failed-precondition", /below": a file on this path is not a directory; /],
  ] as const) {
    const found = mountSources(mounting(resolve(dir, path)), [], paths);
    await assert.rejects(found, (error) => isKind(error, kind) && message.test(String(error)));
  }
});

test("mountSources() accesses one mount after the other: while one hangs no other is accessed", async () => {
  const [dead, fine] = ["dead", "fine"].map((name) => join(dir, "file", name));
  const accessed: string[] = [];
  class Noted extends ClientPaths {
    override async withStallGuard<T>(
      path: string,
      doing: string,
      work: () => Promise<T>,
    ): Promise<T> {
      accessed.push(path);
      return await super.withStallGuard(path, doing, work);
    }
  }
  const noted = new Noted(() => Promise.resolve("/"));
  await assert.rejects(mountSources(mounting(dead, fine), [], noted), (error: Error) =>
    error.message.startsWith(`prepare mount of "${String(dead)}": a file on this path`),
  );
  assert.deepEqual(accessed, [dead]);
});

test("mountBelow() finds what is mounted in a directory, not on or beside it", () => {
  const points = ["/", "/proc", "/var/lib", "/var/lib/pods/x"];
  assert.equal(mountBelow("/", points), "/proc");
  assert.equal(mountBelow("/", ["/"]), undefined);
  assert.equal(mountBelow("/var", points), "/var/lib");
  assert.equal(mountBelow("/var/lib", points), "/var/lib/pods/x");
  assert.equal(mountBelow("/var/lib/pods/x", points), undefined);
  assert.equal(mountBelow("/var/li", points), undefined);
  assert.equal(mountBelow("/etc", points), undefined);
});
