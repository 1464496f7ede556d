// SPDX-License-Identifier: Apache-2.0
//
// A host and a v1 gateway, mounted.
// Fails how: throws std::runtime_error.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "tests/e2e/support/host_test.h"

namespace airstore::e2e {

// With a stand-in for an original gateway, and mounts of it.
class OriginalTest : public HostTest {
 protected:
  virtual bool FirstEra() const { return false; }
  HostOptions Options() const override {
    HostOptions options;
    options.broker_arguments = {"--v1-freshness", "300ms"};
    if (FirstEra()) options.broker_arguments.push_back("--v1-first-era");
    return options;
  }
  void SetUp() override {
    HostTest::SetUp();
    if (IsSkipped()) return;
    const std::string token = host().Path("v1.token");
    WriteFile(token, "anything\n");
    std::filesystem::permissions(token, std::filesystem::perms(0600));
    StartOriginal();
    mount_ = Mount("mnt");
  }
  void StartOriginal() {
    const std::string port_file = host().Path("original.port");
    Arguments words = {AIRSTORE_ORIGINAL_GATEWAY, port_file};
    if (FirstEra()) words.push_back("first-era");
    original_ = Process(words, {.output_file = host().Path("original.log")});
    if (!WaitUntil(std::chrono::seconds(60), [&] { return Exists(port_file); })) {
      throw std::runtime_error("the stand-in did not start");
    }
    std::string port = ReadFile(port_file);
    port.pop_back();
    address_ = "127.0.0.1:" + port;
  }
  std::string Mount(const std::string& name, Arguments extra = {}) {
    extra.insert(extra.begin(), {"--gateway", address_});
    return host().MountWith(host().Path("v1.token"), name, extra);
  }
  // What is there then came from the gateway.
  void RemountFresh() {
    host().Unmount(mount_);
    host().StopBroker();
    host().WipeBrokerState();
    host().StartBroker();
    Mount("mnt");
  }
  const std::string& address() const { return address_; }
  const std::string& mount() const { return mount_; }
  std::string At(const std::string& name) const { return mount_ + "/" + name; }

 private:
  Process original_;
  std::string address_;
  std::string mount_;
};

}  // namespace airstore::e2e
