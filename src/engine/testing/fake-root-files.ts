import { RuntimeError } from "../../base/errors.ts";
import type { ContainerUser, RootFiles } from "../../core/container/index.ts";
import { Trouble } from "./trouble.ts";

/** Roots whose passwd file knows root and "app" (1000). */
export class FakeRootFiles implements RootFiles {
  readonly trouble = new Trouble<"resolveUser">();

  async resolveUser(
    _rootfs: string,
    wanted: Parameters<RootFiles["resolveUser"]>[1],
  ): Promise<ContainerUser> {
    await this.trouble.at("resolveUser");
    const [user = "", group] = wanted.user.split(":");
    const uid = idOf(user);
    const own = group === undefined ? uid : idOf(group);
    const fromImage = wanted.mergeImageGroups && user === "app" ? [2000n] : [];
    return { uid, gid: own, supplementalGroups: [...wanted.supplementalGroups, ...fromImage] };
  }
}

function idOf(name: string): bigint {
  if (name === "" || name === "root") return 0n;
  if (name === "app") return 1000n;
  if (/^\d+$/.test(name)) return BigInt(name);
  throw new RuntimeError(
    "invalid-argument",
    `find user "${name}": the root's passwd file does not have it`,
  );
}
