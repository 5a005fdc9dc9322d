import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type DescMessage, type MessageInitShape } from "@bufbuild/protobuf";
import { isKind } from "../base/errors.ts";
import {
  CreateContainerRequestSchema,
  ExecSyncRequestSchema,
  ListContainersRequestSchema,
  PullImageRequestSchema,
  RunPodSandboxRequestSchema,
} from "../gen/runtime/v1/api_pb.ts";
import { checkRequestText } from "./check-request-text.ts";

function check<Desc extends DescMessage>(schema: Desc, request: MessageInitShape<Desc>): void {
  checkRequestText(schema.name, create(schema, request));
}

const pod = (config: MessageInitShape<typeof RunPodSandboxRequestSchema>["config"]) => () => {
  check(RunPodSandboxRequestSchema, config === undefined ? {} : { config });
};
const container =
  (config: MessageInitShape<typeof CreateContainerRequestSchema>["config"]) => () => {
    check(CreateContainerRequestSchema, config === undefined ? {} : { config });
  };

test("control characters are refused in names, ids, paths and keys, naming the field", () => {
  const bad: readonly (readonly [() => void, string])[] = [
    [pod({ metadata: { name: "a\0b" } }), "config.metadata.name"],
    [pod({ metadata: { name: "a\nb" } }), "config.metadata.name"],
    [pod({ metadata: { namespace: "\u007f" } }), "config.metadata.namespace"],
    [pod({ metadata: { uid: "\u0085" } }), "config.metadata.uid"],
    [pod({ hostname: "a\tb" }), "config.hostname"],
    [pod({ logDirectory: "/a\r" }), "config.log_directory"],
    [pod({ linux: { cgroupParent: "/a\n" } }), "config.linux.cgroup_parent"],
    [pod({ linux: { sysctls: { "net\n": "1" } } }), "config.linux.sysctls[key]"],
    [pod({ annotations: { "a\x01": "" } }), "config.annotations[key]"],
    [pod({ dnsConfig: { servers: ["10.0.0.1", "a\0"] } }), "config.dns_config.servers[1]"],
    [container({ logPath: "a\n.log" }), "config.log_path"],
    [container({ envs: [{ key: "A\0" }] }), "config.envs[0].key"],
    [
      container({ mounts: [{ containerPath: "/a" }, { containerPath: "/b\n" }] }),
      "config.mounts[1].container_path",
    ],
    [container({ devices: [{ hostPath: "/dev/\x1b" }] }), "config.devices[0].host_path"],
    [
      container({ linux: { securityContext: { runAsUsername: "root\n" } } }),
      "config.linux.security_context.run_as_username",
    ],
    [
      () => {
        check(ExecSyncRequestSchema, { containerId: "a\n" });
      },
      "container_id",
    ],
  ];
  for (const [send, field] of bad) {
    assert.throws(send, (error) => {
      assert.ok(isKind(error, "invalid-argument"), String(error));
      const text = String(error);
      assert.ok(text.includes(`: ${field} has a control character (U+00`), text);
      return true;
    });
  }
});

test("NUL alone is refused in commands, values of maps and credentials", () => {
  const values: readonly (readonly [(text: string) => void, string])[] = [
    [
      (text) => {
        container({ command: ["sh", text] })();
      },
      "config.command[1]",
    ],
    [
      (text) => {
        container({ args: [text] })();
      },
      "config.args[0]",
    ],
    [
      (text) => {
        check(ExecSyncRequestSchema, { cmd: [text] });
      },
      "cmd[0]",
    ],
    [
      (text) => {
        pod({ annotations: { "a/b": text } })();
      },
      'config.annotations["a/b"]',
    ],
    [
      (text) => {
        pod({ labels: { a: text } })();
      },
      'config.labels["a"]',
    ],
    [
      (text) => {
        check(ListContainersRequestSchema, { filter: { labelSelector: { a: text } } });
      },
      'filter.label_selector["a"]',
    ],
    [
      (text) => {
        check(PullImageRequestSchema, { auth: { password: text } });
      },
      "auth.password",
    ],
  ];
  for (const [send, field] of values) {
    send("line 1\n\tline 2\u001b[0m\u0085");
    assert.throws(
      () => {
        send("secret\n\0rest");
      },
      (error) => {
        const text = String(error);
        assert.ok(text.includes(`: ${field} has a control character (U+0000 at position 7)`), text);
        assert.ok(!text.includes("secret"), text);
        return isKind(error, "invalid-argument");
      },
    );
  }
});

test("a value of an environment variable is left to the container's own check", () => {
  container({ envs: [{ key: "A", value: Buffer.from("a\0\n") }] })();
});
