# SPDX-License-Identifier: MIT
# All commands of this project; "make help" lists them.

# The patches are for 7.3. Another release has its differences in releases/, and its own folders here.
RELEASE ?= 7.3
other := $(filter-out 7.3,$(RELEASE))
KDIR ?= build/linux$(addprefix -,$(other))
export RELEASE
# The architecture of kernel, guest and tests, and the page size of arm64. kbuild has a variable ARCH, too,
# so this one is neither taken from the environment nor put there, nor handed on by the command line.
ARCH := x86_64
MAKEOVERRIDES := $(filter-out ARCH=%,$(MAKEOVERRIDES))
# The others, by Debian's names: kbuild's name, the compiler's, the package of the emulator, page sizes
archs := arm64 riscv64
kbuild-arm64 := arm64
kbuild-riscv64 := riscv
gnu-arm64 := aarch64-linux-gnu
gnu-riscv64 := riscv64-linux-gnu
qemu-arm64 := qemu-system-arm
qemu-riscv64 := qemu-system-misc
pages-arm64 := 4k 64k
PAGES ?= 4k
unexport ARCH
export JOBS ?= $(shell nproc)
# More kernel configuration fragments
FRAGMENTS ?=

cache := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/ttm-huge
tree := $(abspath $(KDIR))
base := $(abspath build/linux-base$(addprefix -,$(other)))
# arm64, arm64-64k, riscv64, or nothing for x86-64
foreign := $(if $(filter $(archs),$(ARCH)),$(ARCH)$(filter-out -4k,-$(PAGES)))
out := build$(addprefix /,$(foreign))
results := results$(addprefix /,$(other))$(addprefix /,$(foreign))
selftests := $(out)/selftests$(addprefix -,$(other))
fragments = $(if $(filter arm64-64k,$(foreign)),guest/64k.config) \
	$(wildcard releases/$(RELEASE)/*.config) $(FRAGMENTS)
root := build/root$(if $(foreign),-$(ARCH)).img
guest := setup-guest $(root)
# What kbuild has to know; $(call image,FOLDER): the kernel in a folder
kbuild := $(if $(foreign),ARCH=$(kbuild-$(ARCH)) CROSS_COMPILE=$(gnu-$(ARCH))- IMAGE=Image)
flavour := $(addprefix -,$(foreign))
image = $(1)$(flavour)/arch/$(if $(foreign),$(kbuild-$(ARCH))/boot/Image,x86/boot/bzImage)

# make and the kernel's build take a path with spaces for several paths.
spaced := $(strip $(foreach v,CURDIR KDIR,$(if $(word 2,$($(v))),$(v))))
ifneq ($(filter-out build/% clean clients help install,$(MAKECMDGOALS)),)
ifneq ($(spaced),)
$(error $(foreach v,$(spaced),"$($(v))" has a space, and the build of a kernel accepts none))
endif
# Debian's source is unpacked into the default folder only.
ifeq ($(or $(filter file,$(origin KDIR)),$(wildcard $(KDIR))),)
$(error KDIR=$(KDIR) does not exist; it takes a kernel tree)
endif
endif

# These read or write files that are for 7.3 alone.
only_newest := $(filter check-without docs expect pictures post report upstream-baseline,$(MAKECMDGOALS))
ifneq ($(and $(other),$(only_newest)),)
$(error RELEASE=$(RELEASE) does not go with "make $(only_newest)", which is about 7.3)
endif

# Other targets are about x86-64, or build for several architectures.
only_x86 := $(filter-out build/% check clean clients %kernel demo expect help root selftests setup% shell tests \
	tree,$(MAKECMDGOALS))
ifneq ($(filter-out x86_64 $(archs),$(ARCH)),)
$(error ARCH=$(ARCH) is none of $(foreach a,x86_64 $(archs),"$(a)"))
endif
pages := $(or $(pages-$(ARCH)),4k)
ifneq ($(filter-out $(pages),$(PAGES)),)
$(error PAGES=$(PAGES) is none of the pages of ARCH=$(ARCH): $(foreach p,$(pages),"$(p)"))
endif
ifneq ($(and $(foreign),$(only_x86)),)
$(error ARCH=$(ARCH) does not go with "make $(only_x86)")
endif

# Words that some targets take
ifneq ($(filter-out topics each,$(PATCHES)),)
$(error PATCHES=$(PATCHES) is neither "topics" nor "each")
endif
ifneq ($(and $(filter check-arch,$(MAKECMDGOALS)),$(filter each,$(PATCHES))),)
$(error "make check-arch" takes PATCHES=topics only)
endif
ifneq ($(and $(filter shell,$(MAKECMDGOALS)),$(filter-out debug plain base,$(KERNEL))),)
$(error KERNEL=$(KERNEL) is none of "debug", "plain" and "base")
endif

# Debian's packages, by their use: "make setup-kernel" installs those of packages-kernel.
packages-tree := git
packages-clients := build-essential libdrm-dev libegl-dev libgbm-dev libgles-dev pkg-config
packages-kernel := bc bison build-essential ccache flex libelf-dev libssl-dev python3
packages-deb := cpio debhelper kmod libdw-dev rsync zstd
packages-disk := fdisk
packages-root := debian-archive-keyring genext2fs mmdebstrap
packages-nouveau := grub-common grub-pc-bin xorriso
packages-guest := gdb python3 qemu-system-gui qemu-system-x86
packages-figures := gnuplot-nox
packages-pictures := netpbm
packages-static := $(foreach a,$(archs),gcc-$(gnu-$(a)) libc6-dev-$(a)-cross) python3 python3-ply shellcheck
ifdef foreign
compiler := gcc-$(gnu-$(ARCH)) libc6-dev-$(ARCH)-cross
packages-clients := $(compiler) pkg-config
packages-kernel += $(compiler)
packages-guest := gdb python3 $(qemu-$(ARCH))
endif
setups := $(patsubst packages-%,setup-%,$(filter packages-%,$(.VARIABLES)))

export CCACHE_DIR ?= $(cache)/ccache
export CCACHE_MAXSIZE ?= 5G
export CCACHE_NOHASHDIR = 1

version := 0.1
# CC, CFLAGS, CPPFLAGS, LDFLAGS and PKG_CONFIG are the user's, or those of a package's build.
CFLAGS ?= -O2
PKG_CONFIG ?= pkg-config
libdrm :=
link :=
ifdef foreign
CC := $(gnu-$(ARCH))-gcc
AR := $(gnu-$(ARCH))-ar
# libdrm of the guest's release, which needs a newer C library than the compiler has
libdrm_root := build/$(ARCH)/libdrm
libdrm := $(libdrm_root)/usr/lib/$(gnu-$(ARCH))/pkgconfig/libdrm.pc
PKG_CONFIG := PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1 PKG_CONFIG_SYSROOT_DIR=$(libdrm_root) \
	PKG_CONFIG_LIBDIR=$(dir $(libdrm)) pkg-config
link := -Wl,--allow-shlib-undefined
endif
# Expanded on use: "setup" may have to install pkg-config and the libraries first.
ask = $(shell $(PKG_CONFIG) $(1) 2>/dev/null)
cflags = -DVERSION='"$(version)"' -std=gnu11 -Wall -Wextra -Iuserspace/bo -Iuserspace/common \
	-Iuserspace/report \
	$(if $(filter 64k,$(PAGES)),-DBO_PAGE_SHIFT=16) $(CPPFLAGS) $(CFLAGS) $(call ask,--cflags libdrm)

.PHONY: help setup $(setups) tree patches port update bundle post kernel debug-kernel base-kernel deb deb-config root \
	shell demo baseline report bench pictures check check-arch check-configs check-deb check-drivers check-igt check-pae \
	check-static arch-options configs-options pae-options bochs check-nouveau check-without expect regex soak \
	soak-options upstream-baseline vmtests vmtests-options without-options clients tests selftests install docs clean

help:
	@echo "make demo          map objects with and without huge entries, and show the difference"
	@echo "make baseline      map the same objects on the unpatched kernel, and compare with the last demo"
	@echo "make report        write the guest's report of build/bo-map --report into docs/reports/"
	@echo "make bench         measure the cost of mapping in instructions, also of vfio, sysfs, hugetlb, ..."
	@echo "make pictures      let Mesa's clients and desktops draw with and without huge entries, and compare"
	@echo "make docs          update the tables and pictures in docs/ from the last runs"
	@echo "make check         run the tests (debug kernel, igt_runner); T=REGEX selects tests"
	@echo "make expect        write the outcomes of the last check down as the expected ones"
	@echo "make check-igt     build the tests in an IGT source tree, unchanged; IGT=DIR"
	@echo "make check-without take out one fix after the other, and see the tests fail; T=NAMES"
	@echo "make check-configs build the files that the series touches in other configurations; T=NAMES;"
	@echo "                   PATCHES=topics: after each topic; PATCHES=each: after each patch"
	@echo "make check-arch    run KUnit, debug_vm_pgtable and selftests on small kernels of arm64, i386,"
	@echo "                   ppc64le, riscv64, x86_64; T=NAMES; PATCHES=topics: on x86_64 after each topic"
	@echo "make check-drivers run xe, i915 and amdgpu on fake devices: KUnit, mock selftests"
	@echo "make check-pae     run gup-fast against 32-bit page tables, in a guest of its own;"
	@echo "                   DURATION=SECONDS"
	@echo "make check-nouveau run our tests on nouveau, with the GeForce that a Bochs of yours emulates;"
	@echo "                   BOCHS=FILE, T=REGEX"
	@echo "make check-deb     install Debian packages of the kernel in a Debian 13, boot it from its disk, test"
	@echo "                   the drivers as modules, remove them; CONFIG=FILE (default: a small one), T=REGEX"
	@echo "make soak          run threads and moving objects for 10 minutes, random operations for an hour and"
	@echo "                   fuzzers for half an hour, under KASAN, then make vmtests; SOAK=SECONDS for each of"
	@echo "                   four targets, MODEL=SECONDS for each of two, FUZZ=SECONDS for each of three, SEED=N"
	@echo "make vmtests       run run_vmtests.sh on the patched and the unpatched kernel, and compare;"
	@echo "                   T=CATEGORIES, VMTESTS=SECONDS: the limit for each"
	@echo "make check-static  check patches, cover letters, scripts and docs without a guest, and compile"
	@echo "                   user space for arm64 and riscv64"
	@echo "make shell         open a prompt in the guest; KERNEL=debug|plain|base (default plain)"
	@echo "make tree          get Linux 7.3 and apply the series, or its topics up to TOPIC=FOLDER;"
	@echo "                   make kernel TOPIC=FOLDER builds that"
	@echo "make patches       export the tree's commits into the topics of mm-patches/ and drm-patches/"
	@echo "make update        list the patches that do not apply to the newest point releases, or to KDIR=DIR"
	@echo "make bundle        write the patches into build/ttm-huge-$(RELEASE)/, and one combined patch each of mm"
	@echo "                   and of DRM, for people who carry them"
	@echo "make port          apply the series to the tree of RELEASE=7.2, and merge patches that do not apply"
	@echo "make post          write TOPIC=FOLDER as mails for git send-email, signed off by you; V=VERSION"
	@echo "make kernel        build the patched kernel; debug-kernel, base-kernel: the others"
	@echo "make deb           build Debian packages of the patched kernel in build/deb, with Debian's"
	@echo "                   configuration, or CONFIG=FILE such as /boot/config-*; see docs/installing.md"
	@echo "make clients       build userspace/; make tests: igt-tests/; make selftests: the kernel's own"
	@echo "make install       install bo-map and the other clients with manual pages; prefix=DIR (default"
	@echo "                   /usr/local), DESTDIR=DIR, programs=NAMES, CC, CFLAGS; installs no packages"
	@echo "make root          build the guest's root file system"
	@echo "make setup         install the Debian packages for all of this; setup-clients, setup-kernel, ...:"
	@echo "                   for a part"
	@echo "make clean         remove build/ and results/, but not downloads and compiler cache in"
	@echo "                   $(cache)"
	@echo "KDIR=DIR uses a kernel tree of your own instead of $(KDIR)."
	@echo "FRAGMENTS=FILES adds options to the kernel's configuration."
	@echo "ARCH=arm64 or ARCH=riscv64 selects the guest of that architecture, in QEMU, for check, demo, shell,"
	@echo "                   expect and their parts; PAGES=64k, for arm64: with pages of 64 KiB"
	@echo "RELEASE=7.2 selects the series for Linux 7.2, with tree, patches, kernel, check, demo, bench, ..."

$(setups): setup-%:
	@guest/setup $(packages-$*)

setup: $(setups)

# A topic, such as mm-patches/03-memory-types; none for all of them
TOPIC ?=

tree: setup-tree
	@guest/tree apply $(tree) $(TOPIC)

patches:
	@guest/tree export $(tree)

port: setup-tree
	@guest/tree port $(tree)

# KDIR=DIR, if given, or the sources on the mirror
update: setup-tree
	@guest/release update $(if $(filter file,$(origin KDIR)),$(if $(filter file,$(origin RELEASE)),,$(RELEASE)),$(KDIR))

bundle: tree
	@guest/tree bundle $(tree) build/ttm-huge-$(RELEASE)

post: setup-tree
	@guest/post $(tree) "$(TOPIC)" $(V)

# A tree up to an early TOPIC does not have these options yet.
series_config = $(if $(wildcard $(tree)/drivers/gpu/drm/vttm),guest/series.config)
# For the benchmark and the tests of device-dax, which are about x86-64
dax := $(if $(foreign),,guest/dax.config)
peers := $(if $(foreign),,$(dax) guest/peers.config)

kernel: setup-kernel tree
	@$(kbuild) guest/kernel $(tree) .plain$(flavour) guest/kernel.config $(peers) guest/kvm.config \
		$(series_config) $(fragments)

debug-kernel: setup-kernel tree
	@$(kbuild) guest/kernel $(tree) .debug$(flavour) guest/kernel.config guest/series.config \
		guest/debug.config guest/kvm.config guest/calls.config $(dax) $(fragments)

base-kernel: setup-kernel tree
	@guest/tree base $(tree) $(base)
	@$(kbuild) guest/kernel $(base) .plain$(flavour) guest/kernel.config $(peers) guest/kvm.config \
		$(fragments)

# A configuration instead of that of Debian's kernel
CONFIG ?=
deb-config:
	@guest/deb --check "$(CONFIG)"

deb: deb-config setup-kernel setup-deb tree
	@guest/deb $(tree) .deb build/deb "$(CONFIG)" $(fragments)

root: $(root)
build/root.img: guest/mkroot guest/root.packages | setup-root
	@guest/mkroot $@ forky guest/root.packages

$(archs:%=build/root-%.img): build/root-%.img: guest/mkroot guest/root-foreign.packages | setup-root
	@guest/mkroot --arch $* $@ forky guest/root-foreign.packages

# Debian 13 still has Xorg's driver for qxl.
desktop := build/desktop.img
$(desktop): guest/mkroot guest/desktop.packages | setup-root
	@guest/mkroot $@ trixie guest/desktop.packages

# A package's build must install nothing, so the clients alone are built without "setup". "need" names
# a missing library.
ifneq ($(filter-out build/% clean clients help install,$(MAKECMDGOALS)),)
setup_clients := setup-clients
endif
need = @$(PKG_CONFIG) --print-errors --exists $(1) || \
	{ echo "$@ needs $(1); on Debian, 'make setup-clients' installs it" >&2; exit 1; }

# The library that creates and maps objects; position-independent for the libraries of clients/
bo := $(out)/libbo.a
bo_objects := $(patsubst userspace/bo/%.c,$(out)/obj/bo/%.o,$(wildcard userspace/bo/*.c))
report_objects := $(patsubst userspace/report/%.c,$(out)/obj/report/%.o,$(wildcard userspace/report/*.c))
headers := $(wildcard userspace/bo/*.h userspace/common/*.h userspace/report/*.h)

build/$(ARCH)/libdrm/%: | setup-root
	@rm -rf $(libdrm_root) && mkdir -p $(libdrm_root)
	cd $(libdrm_root) && ../../../guest/suite forky:$(ARCH) download libdrm2 libdrm-dev && \
		for deb in *.deb; do dpkg-deb -x $$deb . || exit; done

$(bo_objects): $(out)/obj/bo/%.o: userspace/bo/%.c $(headers) | $(setup_clients) $(libdrm)
	$(call need,libdrm)
	@mkdir -p $(@D)
	$(CC) $(cflags) -fPIC -c -o $@ $<

$(report_objects): $(out)/obj/report/%.o: userspace/report/%.c $(headers) | $(setup_clients) $(libdrm)
	$(call need,libdrm)
	@mkdir -p $(@D)
	$(CC) $(cflags) -c -o $@ $<

$(bo): $(bo_objects)
	@rm -f $@
	$(AR) rcs $@ $^

libs := libdrm
build/gbm-render: libs += gbm egl glesv2
$(out)/bo-map: $(report_objects)

vpath %.c userspace/clients userspace/bench userspace/tlb-model

$(addprefix $(out)/,bo-map bench gbm-render scanout tlb-model): $(out)/%: %.c $(bo) $(headers)
	$(call need,$(libs))
	$(CC) $(cflags) $(LDFLAGS) $(link) -pthread -o $@ $(filter %.c %.o,$^) $(bo) \
		$(call ask,--cflags --libs $(libs)) -lm

build/drm-levels.so build/drm-record.so: build/%.so: %.c $(bo) $(headers)
	$(CC) $(cflags) $(LDFLAGS) -fPIC -shared -o $@ $< $(bo) $(call ask,--libs $(libs))

mesa_clients := build/gbm-render build/scanout build/drm-levels.so build/drm-record.so

clients: $(out)/bo-map $(if $(foreign),,build/bench build/tlb-model $(mesa_clients))

# ---- for a machine with a GPU ----

prefix ?= /usr/local
bindir := $(DESTDIR)$(prefix)/bin
mandir := $(DESTDIR)$(prefix)/share/man/man1

about-bo-map := map a buffer object and show how
about-tlb-model := count TLB misses with the page tables that there are
about-gbm-render := draw through GBM and EGL, and verify each frame
about-scanout := write what a DRM device shows to a picture
programs := bo-map tlb-model gbm-render scanout

install: $(programs:%=build/%)
	@install -d "$(bindir)" "$(mandir)"
	install -t "$(bindir)" $^
	@if ! command -v help2man >/dev/null; then \
		echo "no manual pages, for which help2man is missing"; \
	else \
		$(foreach p,$(programs),help2man -N -n "$(about-$(p))" -o "$(mandir)/$(p).1" build/$(p) &&) \
		echo "manual pages in $(mandir)"; \
	fi

# ---- igt-tests ----

igt_tests := $(basename $(notdir $(wildcard igt-tests/tests/*.c)))
igt_lib := $(patsubst igt-tests/lib/%.c,$(out)/obj/igt/%.o,$(wildcard igt-tests/lib/*.c))
igt_headers := $(headers) $(wildcard igt-tests/lib/*.h igt-tests/igt/*.h)
igt_cflags = $(cflags) -Iigt-tests/lib -Iigt-tests/igt
libigt := $(if $(foreign),$(out)/obj/igt/igt.o,build/igt/libigt.so.0)

# libigt of the guest's release. It needs a newer libdrm-amdgpu1 than the Debian 13 of check-deb has.
build/igt/libigt.so.0: | setup-root
	@rm -rf build/igt && mkdir -p build/igt
	cd build/igt && ../../guest/suite forky download igt-gpu-tools libdrm-amdgpu1 && \
		for deb in *.deb; do dpkg-deb -x $$deb . || exit; done && cp usr/lib/*/libigt.so.0 .

# Debian has no libigt for these.
$(out)/obj/igt/igt.o: igt-tests/igt/igt.c $(igt_headers) | $(setup_clients) $(libdrm)
	@mkdir -p $(@D)
	$(CC) $(igt_cflags) -c -o $@ $<

$(igt_lib): $(out)/obj/igt/%.o: igt-tests/lib/%.c $(igt_headers) | $(setup_clients) $(libdrm)
	@mkdir -p $(@D)
	$(CC) $(igt_cflags) -c -o $@ $<

$(igt_tests:%=$(out)/tests/%): $(out)/tests/%: igt-tests/tests/%.c $(igt_lib) $(igt_headers) $(bo) $(libigt)
	@mkdir -p $(@D)
	$(CC) $(igt_cflags) $(LDFLAGS) -pthread -o $@ $< $(igt_lib) $(bo) $(libigt) \
		-Wl,--allow-shlib-undefined $(call ask,--libs libdrm)

tests: $(igt_tests:%=$(out)/tests/%)

# The kernel's own tests of memory management, from the tree
selftests: setup-kernel tree
	@$(kbuild) igt-tests/run/selftests $(tree) $(selftests)

# A bad regular expression is refused before anything is built.
regex:
	@echo | grep -qE -e "$$T" 2>/dev/null || [ $$? -eq 1 ] || \
		{ echo "T='$$T' is no regular expression" >&2; exit 1; }

check: regex debug-kernel tests selftests $(guest)
	@RESULTS="$${RESULTS:-$(abspath $(results)/check)}" SELFTESTS=$(abspath $(selftests)) \
		igt-tests/run/check $(addprefix --foreign ,$(foreign)) $(call image,$(tree)/.debug) "$$T"

# Needed to build an IGT tree
igt_packages := libcairo2-dev libdrm-dev libdw-dev libglib2.0-dev libkmod-dev libpci-dev \
	libpciaccess-dev libpixman-1-dev libproc2-dev libudev-dev meson ninja-build zlib1g-dev

check-igt:
	@igt-tests/run/check-igt --check "$(IGT)"
	@guest/setup build-essential pkg-config $(igt_packages)
	@igt-tests/run/check-igt "$(IGT)"

# Review the changes to igt-tests/report/expected like code.
expect:
	@mkdir -p igt-tests/report/expected/$(foreign)
	@igt-tests/report/summary --write $(results)/check igt-tests/report/expected/$(foreign)

without-options:
	@igt-tests/run/check-without --check $(T)

check-without: without-options debug-kernel tests $(guest)
	@igt-tests/run/check-without $(tree) $(T)

fuzz := build/fuzz/fuzz build/fuzz/mapped.so
build/fuzz/fuzz: igt-tests/fuzz/fuzz.c $(wildcard igt-tests/fuzz/*.h) $(bo) $(headers)
	@mkdir -p build/fuzz
	$(CC) $(cflags) $(LDFLAGS) -o $@ $< $(bo) $(call ask,--libs libdrm)

build/fuzz/mapped.so: igt-tests/fuzz/mapped.c igt-tests/fuzz/fuzz.h $(bo) $(headers)
	@mkdir -p build/fuzz
	$(CC) $(cflags) $(LDFLAGS) -fPIC -shared -o $@ $< $(bo) $(call ask,--libs libdrm)

# SOAK: seconds of stress for each of four targets; MODEL: of the model for each of two; FUZZ: of each of
# three fuzzers. SEED=N repeats a run of stress and model. make passes all in the environment.
soak-options:
	@igt-tests/run/soak --check

soak: soak-options setup-kernel tree tests $(fuzz) $(guest)
	@guest/kernel $(tree) .kasan guest/kernel.config guest/series.config guest/debug.config \
		guest/kvm.config guest/kasan.config $(fragments)
	@igt-tests/run/soak $(tree)/.kasan/arch/x86/boot/bzImage
	@$(MAKE) --no-print-directory vmtests

vmtests-options: tree
	@igt-tests/run/vmtests --check $(tree) $(T)

# The kernel's own tests of memory management: those of VMAs, a program, and all of run_vmtests.sh on both
# kernels, which must agree. T has categories of the latter, VMTESTS the limit for each in seconds.
vmtests: vmtests-options setup-kernel $(guest)
	@guest/setup libcap-dev libnuma-dev liburcu-dev liburing-dev
	@$(MAKE) --silent -C $(tree)/tools/testing/vma >build/vma.log 2>&1 || { cat build/vma.log >&2; false; }
	@cd $(tree)/tools/testing/vma && ./vma
	@guest/tree base $(tree) $(base)
	@guest/kernel $(tree) .vmtests guest/kernel.config $(series_config) guest/vmtests.config $(fragments)
	@guest/kernel $(base) .vmtests guest/kernel.config guest/vmtests.config $(fragments)
	@igt-tests/run/vmtests $(tree) $(tree)/.vmtests/arch/x86/boot/bzImage \
		$(base)/.vmtests/arch/x86/boot/bzImage $(T)

# The outcomes of upstream's tests without the series. Renew them for a new release.
upstream-baseline: base-kernel tests selftests $(guest)
	@RESULTS=results/upstream-baseline SELFTESTS=$(abspath $(selftests)) igt-tests/run/check --record $(base)/.plain/arch/x86/boot/bzImage

# Compilers for the other architectures; on x86-64 gcc builds i386 too.
cross := gcc-aarch64-linux-gnu gcc-powerpc64le-linux-gnu gcc-riscv64-linux-gnu gcc-s390x-linux-gnu patchelf

configs-options:
	@guest/check-configs --check $(T)

check-configs: configs-options setup-kernel setup-root tree
	@guest/setup $(cross)
	@guest/tree base $(tree) $(base)
	@$(if $(PATCHES),guest/tree base $(tree) build/linux-each)
	@guest/check-configs $(if $(PATCHES),--$(PATCHES)) $(tree) $(base) $(if $(PATCHES),build/linux-each) $(T)

# With PATCHES=topics, T has names of topics. check-arch looks these up in the tree.
arch-options:
	@$(if $(PATCHES),,guest/check-arch --check $(T))

# The C libraries are for the programs in the initrd.
check-arch: arch-options setup-kernel tree
	@guest/setup gcc-aarch64-linux-gnu gcc-i686-linux-gnu gcc-powerpc64le-linux-gnu gcc-riscv64-linux-gnu \
		libc6-dev-arm64-cross libc6-dev-i386-cross libc6-dev-ppc64el-cross libc6-dev-riscv64-cross \
		qemu-system-arm qemu-system-misc qemu-system-ppc qemu-system-x86
	@$(if $(PATCHES),guest/tree base $(tree) build/linux-each)
	@guest/check-arch $(if $(PATCHES),--$(PATCHES)) $(tree) $(if $(PATCHES),build/linux-each) $(T)

check-drivers: setup-kernel tree
	@guest/setup qemu-system-x86
	@guest/check-arch $(tree) x86_64-drivers

pae-options:
	@igt-tests/run/check-pae --check

# i386 kernel and program; the one for x86-64 has no 32-bit C library.
check-pae: pae-options setup-kernel setup-guest tree
	@guest/setup gcc-i686-linux-gnu libc6-dev-i386-cross
	@igt-tests/run/check-pae $(tree)

# The user brings the Bochs, as Debian's has no GeForce. It is tried before anything is built.
BOCHS ?=
bochs:
	@guest/bochs --check "$(BOCHS)"

check-nouveau: regex bochs setup-kernel setup-nouveau tree tests $(root)
	@guest/kernel $(tree) .nouveau guest/kernel.config guest/series.config guest/debug.config \
		guest/geforce.config $(fragments)
	@RESULTS=$(abspath $(results)/check-nouveau) igt-tests/run/check --bochs "$(BOCHS)" \
		$(tree)/.nouveau/arch/x86/boot/bzImage "$$T"

# A Debian 13. The other guests run forky.
disk := build/disk.img
$(disk): guest/mkdisk guest/mkroot guest/disk.packages guest/disk.setup | setup-root setup-disk
	@guest/mkdisk $@

check-deb: regex deb-config setup-kernel setup-deb setup-guest tree build/bo-map tests $(disk)
	@guest/deb $(tree) .deb-check build/check-deb "$(or $(CONFIG),guest/deb-reduced.config)" $(fragments)
	@igt-tests/run/check-deb build/check-deb $(disk) "$$T"

check-static: setup-static tree build/tlb-model
	@igt-tests/run/check-static $(tree)
	@userspace/tlb-model/tlb-model-test build/tlb-model

# ---- the main job ----

# $(call map-objects,NAME,TREE,VARIABLES): the client's figures on a tree's kernel, in NAME.csv
define map-objects
@mkdir -p $(results)/$(1) && cp $(out)/bo-map userspace/demo/demo $(results)/$(1)
@echo "mapping objects in the guest, about two minutes"
@guest/run --arch $(ARCH) --follow --icount --vttm --mem 3072 --timeout 1800 --kernel $(call image,$(2)/.plain) \
	--share $(results)/$(1) -- env $(3) ./demo
@mv $(results)/$(1)/output $(results)/$(1).csv
endef

demo: kernel $(out)/bo-map $(guest) setup-figures
	$(call map-objects,demo,$(tree))
	@userspace/demo/demo-report $(results)/demo.csv $(results)/demo

# The cost of the series with the switch off: the same client on the unpatched kernel
baseline: base-kernel build/bo-map $(guest)
	$(call map-objects,baseline,$(base),SWITCHES=0)
	@userspace/demo/demo-compare $(results)/baseline.csv $(results)/demo.csv

# Both kernels, side by side
bench: kernel base-kernel build/bench $(guest) setup-figures
	@mkdir -p $(results)
	@userspace/bench/bench-run $(tree)/.plain/arch/x86/boot/bzImage \
		$(base)/.plain/arch/x86/boot/bzImage $(results)/bench
	@userspace/bench/bench-report $(results)/bench.csv $(results)/bench

# The guest's report, in instructions. Other machines: build/bo-map --report
report: kernel build/bo-map $(guest)
	@mkdir -p results/report && cp build/bo-map results/report
	@echo "making a report in the guest, some minutes"
	@guest/run --follow --icount --vttm --mem 5120 --timeout 1800 \
		--kernel $(tree)/.plain/arch/x86/boot/bzImage --share results/report \
		-- ./bo-map --report=qemu.txt
	@cp results/report/qemu.txt docs/reports
	@userspace/report/reports-table docs/reports

# The tables and pictures in docs/, from igt-tests/without and the last demo, bench and pictures
docs:
	@igt-tests/run/check-without --table docs/testing.md
	@userspace/report/reports-table docs/reports
	@userspace/bench/bench-report results/bench.csv results/bench docs/performance.md
	@cp results/bench.csv $(patsubst docs/%,results/%,$(wildcard docs/*.svg)) docs
	@cp $(patsubst docs/%,results/%,$(wildcard docs/pictures/*.png)) docs/pictures

# Mesa and desktops draw through huge entries and through 4 KiB ones; scaled down for docs/pictures
pictures: kernel $(mesa_clients) build/tlb-model $(guest) $(desktop) setup-pictures
	@mkdir -p results/pictures results/desktops
	@cp $(mesa_clients) userspace/clients/drawing userspace/clients/pictures results/pictures
	@cp build/drm-levels.so build/scanout userspace/clients/drawing userspace/clients/desktops results/desktops
	@echo "drawing in the guest, about three minutes"
	@guest/run --follow --timeout 1200 --kernel $(tree)/.plain/arch/x86/boot/bzImage \
		--share results/pictures -- ./pictures
	@echo "drawing on desktops in the guest, about five minutes"
	@guest/run --follow --timeout 1200 --kernel $(tree)/.plain/arch/x86/boot/bzImage \
		--root $(desktop) --share results/desktops -- ./desktops
	@cd results/pictures && pngtopnm kmscube-radeon-2.png >kmscube-radeon-2.ppm && \
		for picture in *-2.ppm ../desktops/*-2.ppm; do \
			pamscale -xsize 640 $$picture | pnmtopng -compression 9 >$$(basename $$picture -2.ppm).png || exit; \
		done
	@build/tlb-model --tables=results/pictures/mesa.tables --accesses=results/pictures/mesa.accesses

KERNEL ?= plain
shell: $(if $(filter base,$(KERNEL)),base-kernel,$(if $(filter debug,$(KERNEL)),debug-kernel,kernel)) \
		clients tests $(guest)
	@mkdir -p $(results)/shell && cp $(out)/bo-map $(out)/tests/* $(results)/shell
	@guest/run --arch $(ARCH) --mem 3072 --vfio --vttm --share $(results)/shell --kernel \
		$(call image,$(if $(filter base,$(KERNEL)),$(base)/.plain,$(tree)/.$(KERNEL)))

clean:
	@for tree in $(wildcard build/linux build/linux-[0-9]*); do guest/tree saved $$tree || exit; done
	rm -rf build results
