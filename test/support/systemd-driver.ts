/**
 * True where daemons of tests have `runtime.cgroup_driver = "systemd"`: DAVIT_TEST_CGROUP_DRIVER=systemd, on a machine
 * whose init is systemd and which runs nothing else (test/vm). crun names processes to systemd by their numbers, so
 * test files there have no PID namespace of their own.
 */
export const hasSystemdDriver = process.env["DAVIT_TEST_CGROUP_DRIVER"] === "systemd";
