// SPDX-License-Identifier: Apache-2.0
//
// A host whose gateway has tools, sources and tasks, which are files that a test makes
// (programs/services_gateway.cc).
#pragma once

#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "tests/e2e/support/host_test.h"

namespace airstore::e2e {

class VirtualNodes : public HostTest {
 protected:
  HostOptions Options() const override {
    HostOptions options;
    options.gateway_program = "services-gateway";
    return options;
  }
  void SetUp() override {
    HostTest::SetUp();
    if (IsSkipped()) return;
    token_ = host().CreateWorkspace("work");
  }
  void MountIt(const Arguments& extra = {}) { mount_ = host().MountWith(token_, "mnt", extra); }
  const std::string& token() const { return token_; }
  const std::string& mount() const { return mount_; }
  std::string At(const std::string& name) const { return mount_ + "/" + name; }

  std::string Service(const std::string& name) { return host().Path("gateway/services/" + name); }
  void PutTool(const std::string& name, const std::string& script) {
    WriteFile(Service("tools/" + name), "#!/bin/sh\n" + script);
    chmod(Service("tools/" + name).c_str(), 0755);
  }
  void PutSource(const std::string& path, const std::string& content) {
    std::filesystem::create_directories(
        std::filesystem::path(Service("sources/" + path)).parent_path());
    WriteFile(Service("sources/" + path), content);
  }
  void PutTask(const std::string& id, const std::string& text) {
    WriteFile(Service("tasks/enabled"), "");
    WriteFile(Service("tasks/" + id), text);
  }
  // How often the gateway was asked for what begins like this.
  size_t Asked(const std::string& what) {
    std::ifstream file(Service("calls"));
    size_t count = 0;
    for (std::string line; std::getline(file, line);) count += line.starts_with(what) ? 1 : 0;
    return count;
  }

 private:
  std::string token_;
  std::string mount_;
};

}  // namespace airstore::e2e
