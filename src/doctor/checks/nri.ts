import type { Check, DoctorContext } from "../check.ts";
import { catalogue, type Finding } from "../finding.ts";

const kinds = catalogue("nri", {
  fine: ["ok", ""],
  "file-refused": [
    "warning",
    "davit does not start this plugin: pods and containers are made without it",
  ],
});

/** The plugins of the node (NRI) that davit starts: their names, owners and modes. Starts none. */
export const nriCheck: Check = {
  group: kinds.group,
  title: "Plugins of the node (NRI)",
  catalogue: kinds,
  examine,
};

async function examine({ host, config, skip }: DoctorContext): Promise<readonly Finding[]> {
  const { enable, pluginPath, pluginConfigPath } = config.nri;
  if (!enable) return [kinds.report("fine", "nri.enable is false")];
  const info = await host.fileInfo(pluginPath);
  if (info === undefined) return [kinds.report("fine", `"${pluginPath}" does not exist`)];
  if (!host.isRoot) {
    skip("nri: whether davit starts the plugins of the node (needs root)");
    return [];
  }
  const { names, refused } = await host.readPlugins(pluginPath, pluginConfigPath);
  const found = refused.map(({ file, reason }) => {
    const fix = `correct it, or remove it from ${pluginPath} (nri.plugin_path); then restart davit`;
    return kinds.report("file-refused", `plugin "${file}": ${reason}`, fix);
  });
  if (found.length > 0) return found;
  const what = names.length === 0 ? "no plugins" : names.join(", ");
  return [kinds.report("fine", `${pluginPath}: ${what}`)];
}
