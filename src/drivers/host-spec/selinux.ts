import { closeSync, openSync, readFileSync, writeSync } from "node:fs";
import { randomInt } from "node:crypto";
import { join } from "node:path";
import { RuntimeError, wrap } from "../../base/errors.ts";
import type { Container } from "../../core/container/index.ts";
import type { PodLabeller, PodLabels, Sandbox } from "../../core/sandbox/index.ts";
import { errnoCode } from "../../base/system-error.ts";
import { relabel } from "../../linux/file/index.ts";
import {
  type ContainerLabels,
  containerLabels,
  parseSelinuxContexts,
  podLabels,
  relabelPaths,
  type SelinuxDefaults,
  selinuxPolicy,
} from "../../oci-spec/index.ts";

/** Labels of pods and containers on a host with SELinux. */
export class Selinux implements PodLabeller {
  readonly #defaults: SelinuxDefaults;
  readonly #contextFile: string;

  private constructor(defaults: SelinuxDefaults, contextFile: string) {
    this.#defaults = defaults;
    this.#contextFile = contextFile;
  }

  /**
   * Reads what the host's policy has for containers. `failed-precondition` on a host whose kernel
   * has SELinux off, or without such a policy. `root`: the root of the host's files, for tests.
   */
  static open(root = "/"): Selinux {
    const use = "use runtime.selinux = true";
    const at = (path: string): string => join(root, path);
    if (read(at("sys/fs/selinux/enforce")) === undefined) {
      const why = "SELinux is off on this host (no /sys/fs/selinux/enforce)";
      throw new RuntimeError(
        "failed-precondition",
        `${use}: ${why}; boot with it, or set it to false`,
      );
    }
    const policy = selinuxPolicy(read(at("etc/selinux/config")) ?? "");
    const paths = [
      at("usr/share/containers/selinux/contexts"),
      ...(policy === undefined ? [] : [at(`etc/selinux/${policy}/contexts/lxc_contexts`)]),
    ];
    for (const path of paths) {
      const text = read(path);
      if (text === undefined) continue;
      return new Selinux(parseSelinuxContexts(text, path), at("sys/fs/selinux/context"));
    }
    throw new RuntimeError(
      "failed-precondition",
      `${use}: the host's policy has no labels for containers (no ${paths.join(", no ")}); install container-selinux`,
    );
  }

  choose(config: Sandbox["config"], others: Iterable<Sandbox>): PodLabels {
    const options = config.linux?.securityContext?.selinuxOptions;
    const taken = [...others].flatMap(({ selinux }) => selinux ?? []);
    const labels = podLabels(options, this.#defaults, taken, (below) => randomInt(below));
    this.#check(labels);
    return labels;
  }

  /** See containerLabels(). `invalid-argument` for a label that the policy does not have. */
  check(config: Pick<Container["config"], "linux">, sandbox: Sandbox): void {
    const labels = containerLabels(config, sandbox);
    if (labels !== undefined) this.#check(labels);
  }

  /** Sets the mount label of the files for a container. See relabelPaths(). */
  async relabel(input: Parameters<typeof relabelPaths>[0]): Promise<void> {
    const { selinux } = input;
    if (selinux === undefined) return;
    for (const path of relabelPaths(input)) {
      try {
        await relabel(path, selinux.mount);
      } catch (cause) {
        throw wrap(`give "${path}" SELinux label "${selinux.mount}"`, cause);
      }
    }
  }

  /** Whether the kernel's policy has a label (security_check_context(3)). */
  #check({ process, mount }: ContainerLabels): void {
    for (const label of [process, mount]) {
      if (label === undefined) continue;
      try {
        const fd = openSync(this.#contextFile, "r+");
        try {
          writeSync(fd, label);
        } finally {
          closeSync(fd);
        }
      } catch (cause) {
        if (errnoCode(cause) !== "EINVAL") throw wrap(`check SELinux label "${label}"`, cause);
        throw new RuntimeError(
          "invalid-argument",
          `apply SELinux label "${label}": the policy of this node does not have it; name what it has in selinux_options`,
          { cause },
        );
      }
    }
  }
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    if (["ENOENT", "ENOTDIR"].includes(errnoCode(cause) ?? "")) return undefined;
    throw wrap(`read "${path}"`, cause);
  }
}
