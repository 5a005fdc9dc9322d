import { type Entries, last, octal, pairsOf, smuggled } from "./odd-entries.ts";
import { base256, type BuiltEntry, gnuMagic } from "./tar-builder.ts";

/** A file of 3,000 bytes in GNU's old format: its pairs are in the header, or also in blocks after it. */
function oldSparse(size: number, pairs: readonly number[], data: string): BuiltEntry {
  const blocks: Buffer[] = [];
  for (let at = 8; at < pairs.length; at += 42) {
    const block = Buffer.alloc(512);
    block.write(pairsOf(...pairs.slice(at, at + 42)), 0, "latin1");
    if (at + 42 < pairs.length) block[504] = 1;
    blocks.push(block);
  }
  return {
    name: "sparse",
    type: "S",
    magic: gnuMagic,
    data,
    extension: Buffer.concat(blocks),
    raw: {
      386: pairsOf(...pairs.slice(0, 8)),
      482: pairs.length > 8 ? "\x01" : "\0",
      483: octal(size),
    },
  };
}

function sparse10(map: string, data: string, size: number): BuiltEntry {
  return {
    name: "GNUSparseFile.1/sparse",
    data: map.padEnd(Math.ceil(map.length / 512) * 512, "\0") + data,
    pax: {
      "GNU.sparse.major": "1",
      "GNU.sparse.minor": "0",
      "GNU.sparse.name": "sparse",
      "GNU.sparse.realsize": String(size),
    },
  };
}

const many = Array.from({ length: 60 }, (_, at) => [at * 1000, 10]).flat();
const sparse01 = {
  "GNU.sparse.major": "0",
  "GNU.sparse.minor": "1",
  "GNU.sparse.name": "sparse",
  "GNU.sparse.size": "3000",
  "GNU.sparse.numblocks": "2",
  "GNU.sparse.map": "100,5,2000,7",
};

/** Sparse files in all of GNU's formats, valid and invalid. */
export const sparse: Readonly<Record<string, Entries>> = {
  "sparse, old: four pieces": [
    oldSparse(3000, [100, 5, 2000, 7, 2900, 100], "a".repeat(112)),
    last,
  ],
  "sparse, old: a hole at its end": [oldSparse(3000, [100, 5, 3000, 0], "abcde"), last],
  "sparse, old: sixty pieces": [oldSparse(100_000, many, "0123456789".repeat(60)), last],
  "sparse, old: nothing but a hole": [oldSparse(5000, [], ""), last],
  "sparse, old: PAX has the size": [
    { ...oldSparse(3000, [100, 5], "abcde"), size: 0, pax: { size: "5" } },
    last,
  ],
  "sparse, old: not GNU's": [{ ...oldSparse(3000, [100, 5], "abcde"), magic: "ustar\x0000" }, last],
  "sparse, old: pieces that overlap": [oldSparse(3000, [100, 5, 104, 5], "a".repeat(10)), last],
  "sparse, old: a piece past the end": [oldSparse(3000, [2999, 5], "abcde"), last],
  "sparse, old: too little data": [oldSparse(3000, [100, 5], "abcd"), last],
  "sparse, old: too much data": [oldSparse(3000, [100, 5], "abcdef"), last],
  "sparse, old: a size below 0": [
    { ...oldSparse(3000, [], ""), raw: { 483: base256(-1n, 12) } },
    last,
  ],
  "sparse, old: blocks that end the archive": [
    { ...oldSparse(3000, [], ""), raw: { 482: "\x01", 483: octal(3000) } },
  ],
  "sparse, 0.0": [
    {
      name: "sparse",
      data: "abcdeABCDEFG",
      pax: [
        ["GNU.sparse.size", "3000"],
        ["GNU.sparse.numblocks", "2"],
        ["GNU.sparse.offset", "100"],
        ["GNU.sparse.numbytes", "5"],
        ["GNU.sparse.offset", "2000"],
        ["GNU.sparse.numbytes", "7"],
      ],
    },
    last,
  ],
  "sparse, 0.0: out of turn": [
    {
      name: "sparse",
      pax: [
        ["GNU.sparse.numbytes", "5"],
        ["GNU.sparse.offset", "100"],
      ],
    },
    last,
  ],
  "sparse, 0.1": [{ name: "x/sparse", data: "abcdeABCDEFG", pax: sparse01 }, last],
  "sparse, 0.1: without a version": [
    {
      name: "x",
      data: "abcdeABCDEFG",
      pax: { ...sparse01, "GNU.sparse.major": "", "GNU.sparse.minor": "" },
    },
    last,
  ],
  "sparse, 0.1: another number of pieces": [
    { name: "x", data: "abcdeABCDEFG", pax: { ...sparse01, "GNU.sparse.numblocks": "3" } },
    last,
  ],
  "sparse, 0.1: invalid numbers": [
    { name: "x", data: "abcdeABCDEFG", pax: { ...sparse01, "GNU.sparse.map": "100,5,2000,x" } },
    last,
  ],
  "sparse, 0.1: no pieces": [
    {
      name: "x",
      pax: { ...sparse01, "GNU.sparse.numblocks": "0", "GNU.sparse.map": "" },
    },
    last,
  ],
  "sparse, 0.1: a link": [{ name: "x", type: "2", linkName: "t", pax: sparse01 }, last],
  "sparse, 0.1: a directory of V7": [{ name: "d/", type: "\0", pax: sparse01 }, last],
  "sparse, 0.1: no size of the whole": [
    {
      name: "x",
      data: "abcdeABCDEFG",
      pax: { ...sparse01, "GNU.sparse.size": "", "GNU.sparse.map": "0,5,5,7" },
    },
    last,
  ],
  "sparse, 1.0": [sparse10("2\n100\n5\n2000\n7\n", "abcdeABCDEFG", 3000), last],
  "sparse, 1.0: a map of two blocks": [
    sparse10(`60\n${many.join("\n")}\n`, "0123456789".repeat(60), 100_000),
    last,
  ],
  "sparse, 1.0: no pieces": [sparse10("0\n", "", 3000), last],
  "sparse, 1.0: a map longer than the data": [sparse10("9000\n1\n", "", 3000), last],
  "sparse, 1.0: an entry as its data": [
    sparse10("1\n0\n1024\n", smuggled.toString("latin1"), 1024),
    last,
  ],
  "sparse, 1.0: a size below 0": [sparse10("0\n", "", -1), last],
  "sparse, 2.0 is not sparse": [
    {
      name: "x",
      data: "abc",
      pax: { ...sparse01, "GNU.sparse.major": "2", "GNU.sparse.minor": "0" },
    },
    last,
  ],
  "sparse: records without a map": [
    { name: "x", data: "abc", pax: { "GNU.sparse.name": "y", "GNU.sparse.size": "9" } },
    last,
  ],
};
