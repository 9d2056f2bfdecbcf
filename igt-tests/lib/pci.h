/* SPDX-License-Identifier: MIT */
/* PCI devices: drivers that are taken away for a while, and memory behind a BAR. */
#ifndef PCI_H
#define PCI_H

#include "targets.h"

struct pci_address {
	char name[32];		/* "0000:00:05.0" */
};

/*
 * Takes the driver away from the target's device, in use or not, and gives it back; nobody may have
 * the card of before open then, but the target. Asking for the device's address skips the test
 * where may_unplug() says no: radeon cannot be unbound, and a device that no device filter
 * names must not be. A driver that is still away comes back with the next target, and when the
 * program ends.
 */
bool may_unplug(const struct target *target);
struct pci_address pci_address(const struct target *target);
void unplug(const struct pci_address *device);
void plug_in(const struct target *target, const struct pci_address *device);
void plug_in_again(void);

/*
 * A device whose BAR 2 is @size bytes of memory, or more, that nobody needs: the one that the
 * environment variable PCI_MEMORY names (0000:00:05.0), or else a QEMU ivshmem that has no driver,
 * or vfio-pci. Skips if there is none.
 */
#define PCI_MEMORY	"TTM_HUGE_PCI_MEMORY"
struct pci_address pci_memory(uint64_t size);
/* The physical address of its memory */
uint64_t pci_memory_address(const struct pci_address *device);

/*
 * Opens the vfio group of a device without an IOMMU. Until the program ends vfio-pci has the device,
 * and vfio takes such devices at all. Skips where that does not work.
 */
int open_vfio_group(const struct pci_address *device);
/* The vfio group of QEMU's edu, which vfio-pci has, behind an IOMMU. Skips if there is none. */
int open_edu_group(struct pci_address *device);

#endif
