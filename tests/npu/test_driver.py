"""From the PCI bus to the device node: every state that users meet."""

import os

import pytest
from made_up_laptop import KERNEL, NPU

from whisper_npu_cli.npu.check import State
from whisper_npu_cli.npu.host import UNLIMITED

MODULES = f"/lib/modules/{KERNEL}/modules.dep"


def failed(check, evidence, mend):
    assert check.state is State.FAIL
    assert evidence in check.evidence
    assert mend in check.mend
    return True


@pytest.mark.parametrize(
    ("device", "revision", "name"),
    [
        ("0x17f0", "0x10", "Strix Point (XDNA2, npu4)"),
        ("0x17f0", "0x11", "Strix Halo (XDNA2, npu5)"),
        ("0x17f0", "0x20", "Krackan Point (XDNA2, npu6)"),
        ("0x17f0", "0x77", "XDNA2 NPU"),
        ("0x17f1", "0x10", "npu3"),
    ],
)
def test_other_generations_are_named_and_refused(quiet, device, revision, name):
    quiet.remove(f"/sys/bus/pci/devices/{NPU}")
    quiet.pci("0000:c5:00.1", device, revision)
    check = quiet.check("npu")
    assert failed(check, f"is {name}, 1022:{device[2:]} revision {revision[2:]}", "--device cpu")


def test_a_supported_npu_goes_before_another(quiet):
    quiet.pci("0000:01:00.1", "0x17f0", "0x10")
    assert quiet.check("npu").evidence.startswith("Phoenix/Hawk Point (XDNA1, npu1) at 0000:c4")


def test_the_same_number_of_another_vendor_is_no_npu(quiet):
    quiet.write(f"/sys/bus/pci/devices/{NPU}/vendor", "0x1002\n")
    assert failed(quiet.check("npu"), "no AMD NPU on the PCI bus", "firmware setup")


def test_a_virtual_machine_is_said_to_be_one(quiet):
    quiet.remove(f"/sys/bus/pci/devices/{NPU}")
    assert "virtual machine" not in quiet.check("npu").evidence
    quiet.write("/proc/cpuinfo", "model name : X\nflags : avx2 hypervisor\n")
    assert "virtual machine" in quiet.check("npu").evidence


@pytest.mark.parametrize("release", ["6.14.0-15-generic", "6.18.1", "7.0.0-rc7", "10.1"])
def test_kernels_with_the_driver(quiet, release):
    quiet.write("/proc/sys/kernel/osrelease", release)
    quiet.remove("/sys/module/amdxdna")
    assert quiet.check("kernel").state is State.OK


@pytest.mark.parametrize("release", ["6.13.9", "6.12.0-amd64", "5.15.0"])
def test_kernels_before_the_driver(quiet, release):
    quiet.write("/proc/sys/kernel/osrelease", release)
    assert "from outside its tree" in quiet.check("kernel").evidence
    quiet.remove("/sys/module/amdxdna")
    assert failed(quiet.check("kernel"), f"{release} has no amdxdna driver", "kernel from 6.14")


def test_driver_version_in_tree_and_dkms(quiet):
    assert f"amdxdna of kernel {KERNEL}, bound to {NPU}" == quiet.check("driver").evidence
    quiet.write("/sys/module/amdxdna/version", "2.21.0_20260101,abcdef\n")
    assert "amdxdna 2.21.0_20260101,abcdef" in quiet.check("driver").evidence


class TestNoDriver:
    @pytest.fixture(autouse=True)
    def not_loaded(self, quiet):
        quiet.no_driver()
        quiet.remove("/sys/module/amdxdna")

    def test_not_loaded(self, quiet):
        assert failed(quiet.check("driver"), "amdxdna is not loaded", "sudo modprobe amdxdna")
        quiet.write(MODULES, "kernel/drivers/accel/amdxdna/amdxdna.ko.zst: x.ko\n")
        assert failed(quiet.check("driver"), "amdxdna is not loaded", "sudo modprobe amdxdna")
        assert quiet.check("device-node").mend == "Mend driver first."

    def test_not_built(self, quiet):
        quiet.write(MODULES, "kernel/drivers/gpu/drm/amd/amdgpu/amdgpu.ko: drm.ko\n")
        assert failed(quiet.check("driver"), f"kernel {KERNEL} has no module", "DKMS driver")

    def test_blacklisted(self, quiet):
        quiet.write("/etc/modprobe.d/npu.conf", "# no NPU\nblacklist amdxdna\n")
        assert failed(quiet.check("driver"), "npu.conf blacklists it", "out of /etc/modprobe.d/npu")

    def test_loaded_but_not_bound(self, quiet):
        quiet.write("/sys/module/amdxdna/refcnt", "0")
        assert failed(quiet.check("driver"), f"did not take {NPU}", "dmesg | grep amdxdna")

    def test_no_firmware_file(self, quiet):
        quiet.write("/sys/module/amdxdna/refcnt", "0")
        quiet.write("/lib/firmware/amdgpu/x.bin", "")
        assert failed(quiet.check("driver"), "amdnpu/1502_00 is missing", "linux-firmware")
        quiet.write("/lib/firmware/amdnpu/1502_00/npu.sbin", "")
        assert failed(quiet.check("driver"), f"did not take {NPU}", "dmesg")

    @pytest.mark.parametrize("option", ["amd_iommu=off", "iommu=off"])
    def test_iommu_off(self, quiet, option):
        quiet.write("/sys/module/amdxdna/refcnt", "0")
        quiet.write("/proc/cmdline", f"root=/dev/sda1 {option} quiet")
        assert failed(quiet.check("driver"), "IOMMU is switched off", "kernel's command line")

    def test_another_driver(self, quiet):
        quiet.link(f"/sys/bus/pci/devices/{NPU}/driver", "../../drivers/vfio-pci")
        assert failed(quiet.check("driver"), "bound to vfio-pci", "vfio-pci.ids")

    def test_firmware_waits_for_the_driver(self, quiet):
        assert quiet.check("firmware").mend == "Mend driver first."


def test_firmware_version(quiet):
    assert quiet.check("firmware").evidence == "1.5.5.391"
    quiet.remove(f"/sys/bus/pci/devices/{NPU}/fw_version")
    assert quiet.check("firmware").state is State.WARN


def test_no_node_under_a_bound_driver(quiet):
    quiet.remove("/dev/accel")
    assert failed(quiet.check("device-node"), "there is no /dev/accel", "modprobe -r amdxdna")


def test_the_node_is_that_of_the_npu(quiet):
    quiet.write("/dev/accel/accel1", "")
    quiet.remove("/sys/class/accel/accel0")
    quiet.link("/sys/class/accel/accel0/device", "../../../0000:03:00.0")
    quiet.link("/sys/class/accel/accel1/device", f"../../../{NPU}")
    assert quiet.check("device-node").evidence.startswith("/dev/accel/accel1, mode 0")
    quiet.remove("/dev/accel/accel1")  # the other belongs to another device
    assert quiet.check("device-node").state is State.FAIL
    quiet.remove("/sys/class/accel")
    assert quiet.check("device-node").evidence.startswith("/dev/accel/accel0")


class TestPermission:
    def test_in_the_group(self, quiet):
        assert quiet.check("permission").evidence == "ada may open /dev/accel/accel0"
        assert quiet.check("device-node").evidence.endswith(f"group {quiet.gid} (render)")

    def test_not_in_the_group(self, quiet):
        quiet.change(gids=frozenset({99999}))
        check = quiet.check("permission")
        assert failed(
            check, "not in group render", "Run: sudo usermod -aG render ada, then log out"
        )

    def test_in_the_group_since_this_login_began(self, quiet):
        quiet.change(gids=frozenset({99999}), user="bob")
        assert failed(quiet.check("permission"), "bob is in group render, but not", "newgrp render")

    def test_a_node_for_root_alone(self, quiet):
        quiet.path("/dev/accel/accel0").chmod(0o600)
        assert failed(
            quiet.check("permission"), "mode 0600", 'KERNEL=="accel*", DRIVERS=="amdxdna"'
        )

    def test_a_node_for_everybody(self, quiet):
        quiet.change(gids=frozenset())
        quiet.path("/dev/accel/accel0").chmod(0o666)
        assert quiet.check("permission").state is State.OK

    def test_reading_is_not_enough(self, quiet):
        quiet.path("/dev/accel/accel0").chmod(0o644)
        assert quiet.check("permission").state is State.FAIL

    def test_the_kernel_is_asked_about_this_very_process(self, quiet):
        quiet.change(uid=os.geteuid(), gids=frozenset())
        assert quiet.check("permission").state is State.OK
        if os.geteuid():
            quiet.path("/dev/accel/accel0").chmod(0o000)
            assert quiet.check("permission").state is State.FAIL


class TestMemlock:
    @pytest.mark.parametrize("hard", [UNLIMITED, 1 << 30, 64 << 30])
    def test_enough(self, quiet, hard):
        quiet.change(memlock=(8 << 20, hard))
        assert quiet.check("memlock").state is State.OK

    def test_less_than_the_heap(self, quiet):
        quiet.change(memlock=(8 << 20, 8 << 20))
        check = quiet.check("memlock")
        assert failed(check, "hard limit 8 MiB, less than the 64 MiB", "limits.d/99-amdxdna.conf")

    def test_little(self, quiet):
        quiet.change(memlock=(8 << 20, 512 << 20))
        assert quiet.check("memlock").state is State.WARN

    def test_cap_ipc_lock_lifts_the_limit(self, quiet):
        quiet.change(memlock=(0, 0))
        quiet.write("/proc/self/status", "CapEff:\t0000000000004000\n")
        assert "not binding with CAP_IPC_LOCK" in quiet.check("memlock").evidence
        quiet.write("/proc/self/status", "CapEff:\t000001ffffffbfff\n")  # all but this one
        assert quiet.check("memlock").state is State.FAIL


class TestBusy:
    def test_holders_are_named(self, quiet):
        quiet.hold(4242, "flm")
        quiet.hold(77, "python3")
        quiet.hold(78, "bash", "/dev/accel/accel1")
        check = quiet.check("in-use")
        assert check.state is State.WARN
        assert check.evidence.endswith("held by python3 (process 77), flm (process 4242)")

    def test_our_own_process_is_no_holder(self, quiet):
        quiet.hold(os.getpid(), "whisper-npu")
        assert quiet.check("in-use").state is State.OK

    def test_what_could_not_be_seen_is_said(self, quiet):
        assert "that this user can see" in quiet.check("in-use").evidence


class TestContainer:
    @pytest.fixture(autouse=True)
    def in_docker(self, quiet):
        quiet.write("/.dockerenv", "")

    def test_nothing_missing(self, quiet):
        assert quiet.check("container").evidence == "docker, nothing is missing"

    def test_no_device(self, quiet):
        quiet.remove("/dev/accel")
        option = "Start the container with --device /dev/accel/accel0"
        assert failed(quiet.check("device-node"), "not passed into this docker", option)
        assert failed(quiet.check("container"), "lacks the device", option)

    def test_no_group(self, quiet):
        quiet.change(gids=frozenset({99999}), environ={})
        option = f"--group-add {quiet.gid}"
        assert failed(quiet.check("permission"), "among this container's groups", option)
        assert failed(quiet.check("container"), "lacks the device's group", option)

    def test_no_locked_memory(self, quiet):
        quiet.change(memlock=(8 << 20, 8 << 20))
        option = "--cap-add IPC_LOCK --ulimit memlock=-1"
        assert failed(quiet.check("memlock"), "8 MiB", option)
        assert failed(quiet.check("container"), "right to lock memory", option)

    def test_all_at_once_in_podman(self, quiet):
        quiet.write("/run/.containerenv", "")
        quiet.remove("/dev/accel")
        quiet.change(memlock=(0, 0))
        check = quiet.check("container")
        assert failed(check, "this podman container", "accel0 --cap-add IPC_LOCK --ulimit")

    def test_a_container_without_an_npu_lacks_nothing(self, quiet):
        quiet.remove(f"/sys/bus/pci/devices/{NPU}", "/dev/accel")
        assert quiet.check("container").state is State.OK
