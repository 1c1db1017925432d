// Package oldsystem builds disks of devices with a single system, as they are
// in the field before a migration: they boot with a GRUB of their own, have a
// static address, logins and customers' files, and abupdate installed from its
// RPM.
//
// They look like EL where abupdate looks (partition tables, mkfs options,
// /boot/grub2, os-release, ifcfg files); kernel, GRUB and userland are
// Debian's.
//
// Invariant: two builds of a layout differ in host keys and random content
// only. Building needs root and loop devices, no device-mapper. Start with
// Build.
package oldsystem
