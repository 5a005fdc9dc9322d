import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { asUnicode, envProgram, hasByteValues, textOfBytes, withBytes } from "./byte-env.ts";
import { containerProcess } from "./process.ts";
import type { OciProcess } from "../core/oci/index.ts";
import { specInput } from "./testing/spec-input.ts";

const usual = containerProcess(specInput({ command: ["sh", "-c", "x"] }));
const withEnv = (...env: readonly string[]): OciProcess => ({ ...usual, env });
const value = (...bytes: readonly number[]): string => textOfBytes(Uint8Array.from(bytes));

/** The bytes of a value as the program in the container gets them. */
function hexOf(text: string): string | undefined {
  const line = asUnicode(withEnv(`A=${text}`)).env[0] ?? "";
  return text.isWellFormed() ? undefined : line.slice("A=".length);
}

describe("textOfBytes()", () => {
  test("does not change UTF-8, including U+FFFD and a byte order mark", () => {
    for (const text of ["", "a=b\n", "äöü 🐋", "\uFEFFbom", "a\ufffdb", "\u{10ffff}"]) {
      assert.equal(textOfBytes(Buffer.from(text)), text);
    }
  });

  test("keeps every byte that is not UTF-8, in order", () => {
    const all: readonly (readonly number[])[] = [
      [0xff],
      [0x61, 0xff, 0xfe, 0x62],
      [0xe4], // Latin 1
      [0xc3], // cut short
      [0xe2, 0x82, 0xc3, 0xa4],
      [0xc0, 0xaf], // overlong
      [0xe0, 0x80, 0xaf],
      [0xed, 0xa0, 0x80], // a surrogate
      [0xf4, 0x90, 0x80, 0x80], // above U+10FFFF
      [0xf0, 0x9f, 0x90],
      [0x80, 0xc3, 0xa4, 0x80],
      [0xff, 0xef, 0xbf, 0xbd],
    ];
    for (const bytes of all) {
      const text = value(...bytes);
      assert.ok(!text.isWellFormed());
      assert.equal(hexOf(text), Buffer.from(bytes).toString("hex"));
    }
    assert.equal(value(0x61, 0xff, 0xc3, 0xa4), "a\udcffä");
  });

  test("keeps random bytes", () => {
    let seed = 7;
    for (let round = 0; round < 500; round++) {
      const bytes = Array.from({ length: 12 }, () => {
        seed = (seed * 1_103_515_245 + 12_345) & 0x7fff_ffff;
        return 1 + ((seed >>> 8) % 255);
      });
      const hex = hexOf(value(...bytes));
      if (hex !== undefined) assert.equal(hex, Buffer.from(bytes).toString("hex"));
      else
        assert.equal(
          Buffer.from(value(...bytes)).toString("hex"),
          Buffer.from(bytes).toString("hex"),
        );
    }
  });
});

describe("asUnicode()", () => {
  test("leaves a process alone whose variables are Unicode", () => {
    assert.equal(asUnicode(usual), usual);
    assert.equal(hasByteValues(usual), false);
    assert.equal(withBytes(usual), usual);
  });

  test("writes bytes in hexadecimal digits behind a program, and withBytes() takes that back", () => {
    const process = withEnv("PATH=/bin", `A=${value(0x61, 0xff)}`, "B=b", `C=${value(0xfe)}`);
    assert.equal(hasByteValues(process), true);
    const unicode = asUnicode(process);
    assert.deepEqual(unicode.env, ["PATH=/bin", "A=61ff", "B=b", "C=fe"]);
    assert.deepEqual(unicode.args, [envProgram, "2", "A", "C", "sh", "-c", "x"]);
    assert.deepEqual(withBytes(unicode), process);
  });

  test("withBytes() does not change a similar command", () => {
    for (const args of [[envProgram], [envProgram, "x"], [envProgram, "0", "sh"]]) {
      assert.deepEqual(withBytes({ ...usual, args }).args, args);
    }
  });
});
