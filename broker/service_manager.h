// SPDX-License-Identifier: Apache-2.0
//
// The service manager that has started us, if one has (sd_notify(3), sd_listen_fds(3)): it is told
// how we are, may have made the control socket, and keeps descriptors of mounts for a broker that
// is started after all of our processes have died. Without a service manager nothing happens.
//
// Threads: the event loop, or main before it runs.
// Fails: never; what cannot be told is not told.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "shm/base/fd.h"

namespace airstore::broker {

// REQUIRES: before any other thread. Takes what the environment says, out of it.
void MeetServiceManager();
bool HaveServiceManager();
// "READY=1" and the like.
void TellServiceManager(const std::string& text);
// How often it wants to hear "WATCHDOG=1", or it ends us (sd_watchdog_enabled(3)). 0: never.
std::chrono::microseconds WatchdogTime();
// The listening control socket that it has made; without a value: it has made none. Once, and
// before DropKeptDescriptors.
UniqueFd GivenSocket();

// Names are unique; a descriptor that is kept under one goes.
void KeepDescriptor(const std::string& name, int fd);
void ForgetDescriptor(const std::string& name);
// Kept by an earlier broker: a new descriptor. Without a value: there is none.
UniqueFd KeptDescriptor(const std::string& name);
std::vector<std::string> NamesOfKept(std::string_view prefix);
// As if it had been kept by an earlier broker, in place of what was.
void AddKept(const std::string& name, UniqueFd fd);
// What was kept and not asked for is of no use.
void DropKeptDescriptors();

// Under which names what a mount needs is kept.
std::string NameOfDevice(const std::string& session, uint32_t mount_index);
std::string NameOfTables(const std::string& session);
std::string NameOfSlab(const std::string& session, uint32_t index);
std::string PrefixOfSlabs(const std::string& session);

}  // namespace airstore::broker
