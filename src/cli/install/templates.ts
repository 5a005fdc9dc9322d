import { readFileSync } from "node:fs";
import { join } from "node:path";
import { wrap } from "../../base/errors.ts";

/** The templates of packaging/, as they are for one installation. */
export interface Templates {
  readonly unit: string;
  readonly config: string;
  readonly crictl: string;
  readonly conflist: string;
}

/** What the templates depend on. */
export interface TemplateFacts {
  /** The directory whose templates are read. */
  readonly from: string;
  /** The directory of davit on the node. */
  readonly home: string;
  /** For the unit, if bin/davit does not find its Node.js by itself. */
  readonly node: string | undefined;
  /** The CRI socket. */
  readonly socket: string;
  /** Whether systemd owns the cgroups (v2) of the machine. */
  readonly systemdCgroups: boolean;
  /** The subnet of pods; undefined for that of the template. */
  readonly subnet: string | undefined;
}

const templateSocket = "/run/davit/davit.sock";

/** The subnet of packaging/10-davit.conflist. */
export const templateSubnet = "10.87.0.0/24";

/** Reads the templates in `home`/packaging and fills in what the machine needs. */
export function readTemplates(facts: TemplateFacts): Templates {
  const { from, home, node, socket, systemdCgroups, subnet } = facts;
  const read = (name: string): string => {
    const path = join(from, "packaging", name);
    try {
      return readFileSync(path, "utf8");
    } catch (cause) {
      throw wrap(`read the template "${path}": install davit again`, cause);
    }
  };
  const exec = `ExecStart=${unitWord(`${home}/bin/davit`)} serve`;
  const environment = node === undefined ? "" : `Environment=${unitWord(`DAVIT_NODE=${node}`)}\n`;
  return {
    unit: read("davit.service")
      .replace(
        /^# davit as a systemd service: copy to.*\n#.*\n/,
        "# davit as a systemd service, made by davit install.\n",
      )
      .replace(/^ExecStart=.*$/m, () => environment + exec),
    config: systemdCgroups
      ? read("davit.toml").replace(/^cgroup_driver = .*$/m, 'cgroup_driver = "systemd"')
      : read("davit.toml"),
    crictl: read("crictl.yaml")
      .replace(
        /^# crictl's configuration for davit.*\n/,
        "# crictl's configuration for davit, made by davit install\n",
      )
      .replaceAll(`unix://${templateSocket}`, () => `unix://${socket}`),
    conflist: read("10-davit.conflist").replace(templateSubnet, subnet ?? templateSubnet),
  };
}

/** A word of a unit: quoted where it has a blank, with `%` doubled (systemd.syntax(7)). */
function unitWord(text: string): string {
  const escaped = text.replaceAll("%", "%%");
  return /[\s"'\\$;]/.test(escaped)
    ? `"${escaped.replaceAll(/["\\]/g, String.raw`\$&`)}"`
    : escaped;
}

/** The program that a unit starts; undefined without an ExecStart. */
export function programOf(unit: string): string | undefined {
  const line = /^ExecStart=[-@:+!]*(?:"((?:[^"\\]|\\.)*)"|(\S+))/m.exec(unit);
  return (line?.[1]?.replaceAll(/\\(.)/g, "$1") ?? line?.[2])?.replaceAll("%%", "%");
}
