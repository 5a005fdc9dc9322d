import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { hex } from "../../spdy/testing/hex.ts";
import { HeaderDecoder, type HeaderLimits } from "./decoder.ts";
import { HeadersTooLarge, HpackError } from "./errors.ts";

type Pairs = readonly (readonly [string, string])[];

const limits: HeaderLimits = { maxTableBytes: 4096, maxListBytes: 16 * 1024, maxPairs: 64 };
const decoder = (changes: Partial<HeaderLimits> = {}): HeaderDecoder =>
  new HeaderDecoder({ ...limits, ...changes });

const get: Pairs = [
  [":method", "GET"],
  [":scheme", "http"],
  [":path", "/"],
  [":authority", "www.example.com"],
];
const requests: readonly Pairs[] = [
  get,
  [...get, ["cache-control", "no-cache"]],
  [
    [":method", "GET"],
    [":scheme", "https"],
    [":path", "/index.html"],
    [":authority", "www.example.com"],
    ["custom-key", "custom-value"],
  ],
];
const location = ["location", "https://www.example.com"] as const;
const cookie = "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";
const redirect = (status: string): Pairs => [
  [":status", status],
  ["cache-control", "private"],
  ["date", "Mon, 21 Oct 2013 20:13:21 GMT"],
  location,
];
const responses: readonly Pairs[] = [
  redirect("302"),
  redirect("307"),
  [
    [":status", "200"],
    ["cache-control", "private"],
    ["date", "Mon, 21 Oct 2013 20:13:22 GMT"],
    location,
    ["content-encoding", "gzip"],
    ["set-cookie", cookie],
  ],
];

describe("examples of RFC 7541, appendix C", () => {
  const single: readonly (readonly [string, string, Pairs])[] = [
    [
      "C.2.1",
      "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
      [["custom-key", "custom-header"]],
    ],
    ["C.2.2", "040c 2f73 616d 706c 652f 7061 7468", [[":path", "/sample/path"]]],
    ["C.2.3", "1008 7061 7373 776f 7264 0673 6563 7265 74", [["password", "secret"]]],
    ["C.2.4", "82", [[":method", "GET"]]],
  ];
  for (const [name, block, expected] of single) {
    test(name, () => assert.deepEqual(decoder().decode(hex(block)), expected));
  }

  test("C.1: integers", () => {
    // Indices of 10 and 1337 in a prefix of 4 or 7 bits are checked by the headers that they name.
    assert.deepEqual(decoder().decode(hex("8a")), [[":status", "206"]]);
    assert.throws(() => decoder().decode(hex("ffba09")), /index 1337/);
    // A table of 10, 1337 and 42 bytes: prefixes of 5 bits.
    for (const [block, bytes] of [
      ["2a", 10],
      ["3f9a0a", 1337],
      ["3f0b", 42],
    ] as const) {
      assert.deepEqual(decoder({ maxTableBytes: bytes }).decode(hex(block)), []);
      assert.throws(() => decoder({ maxTableBytes: bytes - 1 }).decode(hex(block)), HpackError);
    }
  });

  const sequences: readonly (readonly [string, readonly string[], readonly Pairs[], number])[] = [
    [
      "C.3: requests",
      [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
      ],
      requests,
      4096,
    ],
    [
      "C.4: requests with Huffman codes",
      [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
      ],
      requests,
      4096,
    ],
    [
      "C.5: responses, in a table of 256 bytes",
      [
        `4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133
         2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70
         6c65 2e63 6f6d`,
        "4803 3330 37c1 c0bf",
        `88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d
         54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049
         5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e
         3d31`,
      ],
      responses,
      256,
    ],
    [
      "C.6: responses with Huffman codes, in a table of 256 bytes",
      [
        `4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6
         2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3`,
        "4883 640e ffc1 c0bf",
        `88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab
         77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f
         9587 3160 65c0 03ed 4ee5 b106 3d50 07`,
      ],
      responses,
      256,
    ],
  ];
  for (const [name, blocks, expected, maxTableBytes] of sequences) {
    test(name, () => {
      const one = decoder({ maxTableBytes });
      assert.deepEqual(
        blocks.map((block) => one.decode(hex(block))),
        expected,
      );
    });
  }
});

describe("dynamic table", () => {
  /** A literal with incremental indexing; name and value are short. */
  const literal = (name: string, value: string): string =>
    `40${hexString(name)}${hexString(value)}`;
  const hexString = (text: string): string =>
    text.length.toString(16).padStart(2, "0") + Buffer.from(text, "latin1").toString("hex");

  test("headers of a table are the same values in each list", () => {
    const one = decoder();
    const [added] = one.decode(hex(literal("te", "trailers")));
    const [again, method] = one.decode(hex("be83"));
    assert.equal(again, added);
    assert.equal(method, one.decode(hex("83"))[0]);
  });

  test("evicts the oldest entries, and counts 32 bytes for each", () => {
    // Two entries of 34 bytes fill it.
    const one = decoder({ maxTableBytes: 68 });
    one.decode(hex(literal("a", "1") + literal("b", "2") + literal("c", "3")));
    assert.deepEqual(one.decode(hex("bebf")), [
      ["c", "3"],
      ["b", "2"],
    ]);
    assert.throws(() => one.decode(hex("c0")), /no header has the index 64/);
  });

  test("holds as many entries as fit, in order, however many were added", () => {
    // 4096 / (32 + 1) entries.
    const indices = Array.from({ length: 124 }, (_, at) => 62 + at);
    const block = Buffer.from(
      indices.flatMap((index) => (index < 127 ? [0x80 | index] : [0xff, index - 127])),
    );
    const all = decoder({ maxPairs: 200 });
    for (let round = 0; round < 1000; round++) {
      all.decode(hex(`40${hexString("")}${hexString(String(round % 10))}`));
    }
    assert.deepEqual(
      all.decode(block).map(([, value]) => value),
      indices.map((_, at) => String((999 - at) % 10)),
    );
    assert.throws(() => all.decode(hex("ff3b")), /index 186/);
  });

  test("an entry larger than the table empties it", () => {
    const one = decoder({ maxTableBytes: 40 });
    one.decode(hex(literal("a", "1")));
    assert.deepEqual(one.decode(hex(literal("name", "value"))), [["name", "value"]]);
    assert.throws(() => one.decode(hex("be")), /index 62/);
    // And the next one is added.
    one.decode(hex(literal("a", "1")));
    assert.deepEqual(one.decode(hex("be")), [["a", "1"]]);
  });

  test("a new entry may have the name of one that it evicts", () => {
    const one = decoder({ maxTableBytes: 40 });
    one.decode(hex(literal("key", "1")));
    assert.deepEqual(one.decode(hex(`7e${hexString("23")}`)), [["key", "23"]]);
    assert.deepEqual(one.decode(hex("be")), [["key", "23"]]);
  });

  test("literals without indexing and never indexed ones are not added", () => {
    const one = decoder();
    for (const type of ["00", "10"]) {
      assert.deepEqual(one.decode(hex(`${type}${hexString("key")}${hexString("1")}`)), [
        ["key", "1"],
      ]);
      assert.throws(() => decoder().decode(hex("be")), /index 62/);
    }
    assert.deepEqual(one.decode(hex(`1f10${hexString("text/plain")}`)), [
      ["content-type", "text/plain"],
    ]);
  });

  test("changes its size at the beginning of a block only, and within the setting", () => {
    const one = decoder();
    one.decode(hex(literal("a", "1") + literal("b", "2")));
    // To 40 bytes, where one entry is left, and to the setting again.
    assert.deepEqual(one.decode(hex("3f09 3fe11f be")), [["b", "2"]]);
    assert.throws(() => one.decode(hex("bf")), /index 63/);
    const other = decoder();
    other.decode(hex(literal("a", "1")));
    other.decode(hex("20"));
    other.decode(hex(literal("a", "1")));
    assert.throws(() => other.decode(hex("be")), /index 62/);
    assert.throws(() => decoder().decode(hex("82 20")), /after the first header/);
    assert.throws(() => decoder().decode(hex("3fe21f")), /a table of 4097 bytes/);
  });

  test("a table of 0 bytes holds nothing", () => {
    const one = decoder({ maxTableBytes: 0 });
    assert.deepEqual(one.decode(hex(literal("a", "1"))), [["a", "1"]]);
    assert.throws(() => one.decode(hex("be")), /index 62/);
  });
});

describe("malformed blocks", () => {
  const blocks: Readonly<Record<string, string>> = {
    "index 0": "80",
    "an index beyond both tables": "be",
    "a name beyond both tables": "7e0161",
    "a literal without a value": "4001 61",
    "a literal without a name": "40",
    "a name that is truncated": "400a 6375",
    "a value that is truncated": "040c 2f73",
    "an integer that is truncated": "ff",
    "an integer that continues at the end": "ff80",
    "an integer with more than 28 bits": "ffffffffff0f",
    "an integer with leading zeros": "ff8080808000",
    "the length of a string that is truncated": "007f",
    "a string of 2^28 bytes": "007fffffff7f",
    "a table of 2^28 bytes": "3fffffff7f",
    "a Huffman code with EOS": "0001 6184 ffffffff",
    "a Huffman code of padding alone": "0001 6181 ff",
    "a Huffman code with zeros as padding": "0001 6181 00",
  };
  for (const [what, block] of Object.entries(blocks)) {
    test(what, () => assert.throws(() => decoder().decode(hex(block)), HpackError));
  }

  test("a block cut at any byte is malformed or a shorter list", () => {
    const whole = hex("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff 4088 25a8 49e9 5ba9 7d7f 0178");
    const expected = decoder().decode(whole);
    for (let length = 0; length < whole.length; length++) {
      try {
        const found = decoder().decode(whole.subarray(0, length));
        assert.deepEqual(found, expected.slice(0, found.length));
      } catch (error) {
        assert.ok(error instanceof HpackError, String(error));
      }
    }
  });

  test("28 bits of an integer are read", () => {
    assert.throws(() => decoder().decode(hex("ffffffff7f")), /index 268435582/);
  });
});

describe("limits of a list", () => {
  test("as many headers and bytes as allowed", () => {
    const one = decoder({ maxPairs: 3, maxListBytes: 3 * 42 });
    assert.equal(one.decode(hex("828282")).length, 3);
    assert.throws(() => one.decode(hex("82828282")), HeadersTooLarge);
    // ":status 200" has 42 bytes, ":method POST" 43.
    assert.equal(one.decode(hex("888888")).length, 3);
    assert.throws(() => one.decode(hex("888883")), HeadersTooLarge);
  });

  test("the table stays that of the peer", () => {
    const one = decoder({ maxPairs: 1 });
    assert.throws(() => one.decode(hex("82 4001610131 4001620132")), HeadersTooLarge);
    assert.deepEqual(one.decode(hex("be")), [["b", "2"]]);
    assert.deepEqual(one.decode(hex("bf")), [["a", "1"]]);
  });

  test("a small header after a large one is not taken in its place", () => {
    const one = decoder({ maxListBytes: 42 });
    assert.throws(() => one.decode(hex("8382")), HeadersTooLarge);
  });

  test("a malformed block after too many headers is malformed", () => {
    assert.throws(() => decoder({ maxPairs: 1 }).decode(hex("828280")), HpackError);
  });

  test("a bomb of one entry that is named many times costs no memory", () => {
    const one = decoder();
    const value = "x".repeat(4000);
    const literal = Buffer.concat([hex("400161 7fa11e"), Buffer.from(value)]);
    one.decode(literal);
    const bomb = Buffer.alloc(64 * 1024, 0xbe);
    const before = process.memoryUsage().heapUsed;
    for (let round = 0; round < 20; round++) {
      assert.throws(() => one.decode(bomb), HeadersTooLarge);
    }
    // Copies of the values would have 5 GiB.
    assert.ok(process.memoryUsage().heapUsed - before < 64 * 1024 * 1024);
    assert.deepEqual(one.decode(hex("be")), [["a", value]]);
  });
});
