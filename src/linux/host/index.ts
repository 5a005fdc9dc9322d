/** The host itself: kernel and boot id, devices, free disk space, the service manager, tracked connections. */
export { describeFullDisk, DiskHeadroom, type DiskSpace } from "./disk-headroom.ts";
export { hostBootId, isRunBySystemd, kernelRelease, systemdDirectory } from "./host.ts";
export { deleteUdpFlows, type DeviceNode, listDevices, notifyService } from "./native.ts";
