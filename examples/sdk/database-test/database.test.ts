// A test against a real server in a pod: node --test examples/sdk/database-test/database.test.ts
//
// The server is a database of one table that speaks lines over TCP: "SET key value", "GET key", "COUNT". Put your own
// in its place: image, environment, port.
import assert from "node:assert/strict";
import { connect } from "node:net";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { Davit, type Pod } from "davit";

const image = "docker.io/library/busybox:1.37";

const server = `
while read -r verb key value; do
  case $verb in
    SET) echo "$value" >"$DATA/$key"; echo OK ;;
    GET) if [ -f "$DATA/$key" ]; then cat "$DATA/$key"; else echo NONE; fi ;;
    COUNT) ls "$DATA" | wc -l ;;
    *) echo "ERROR no such command: $verb" ;;
  esac
done
`;

let davit: Davit;
let database: Pod;

before(async () => {
  davit = await Davit.connect();
  database = await davit.run(image, {
    command: ["sh", "-c", 'printf "%s" "$SERVER" >/server && exec nc -ll -p 5432 -e sh /server'],
    env: { SERVER: server, DATA: "/data" },
    mounts: [{ tmp: "/data" }],
    ready: { port: 5432 },
    graceSeconds: 0,
  });
});
after(() => davit.close());

/** Sends lines to the database, and returns as many answers. */
async function ask(...lines: readonly string[]): Promise<readonly string[]> {
  await using forward = await database.forward(5432);
  const socket = connect(forward.port, "127.0.0.1");
  const answers: string[] = [];
  try {
    socket.write(lines.map((line) => `${line}\n`).join(""));
    for await (const answer of createInterface({ input: socket })) {
      answers.push(answer);
      if (answers.length === lines.length) break;
    }
  } finally {
    socket.destroy();
  }
  return answers;
}

test("a value is stored", async () => {
  assert.deepEqual(await ask("SET color dark blue", "GET color"), ["OK", "dark blue"]);
});

test("a key that nobody has set has no value", async () => {
  assert.deepEqual(await ask("GET nothing"), ["NONE"]);
});

test("the data are files of the server", async () => {
  await ask("SET size 3");
  assert.equal(await database.readText("/data/size"), "3\n");
  // A fixture, put into the running server.
  await database.write("/data/shape", "round\n");
  assert.deepEqual(await ask("GET shape"), ["round"]);
});
