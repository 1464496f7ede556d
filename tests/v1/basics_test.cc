// SPDX-License-Identifier: Apache-2.0
//
// Files and directories in a mount of an original gateway.
#include <airstore/v1/context.grpc.pb.h>
#include <fcntl.h>
#include <grpcpp/grpcpp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "tests/v1/v1_host.h"

namespace airstore::e2e {
namespace {

class V1Basics : public OriginalTest {};

TEST_F(V1Basics, WhatIsWrittenIsThereAfterARemount) {
  const nlohmann::json status = host().Status();
  EXPECT_EQ(status.at("sessions").at(0).at("protocol"), "v1");
  std::filesystem::create_directories(At("a/b/c"));
  WriteFile(At("a/small"), "small");
  WriteFile(At("a/b/empty"), "");
  const std::string large = RandomBytes(1, 20u << 20);
  WriteFile(At("a/b/c/large"), large);
  ASSERT_EQ(symlink("b/c/large", At("a/link").c_str()), 0);
  std::filesystem::rename(At("a/b"), At("moved"));
  {
    const UniqueFd file = Open(At("moved/c/large"), O_RDWR);
    WriteAt(file.get(), "head", 0);
    WriteAt(file.get(), "middle", 10u << 20);
    ASSERT_EQ(ftruncate(file.get(), 19u << 20), 0);
  }
  std::string expected = large;
  expected.replace(0, 4, "head");
  expected.replace(10u << 20, 6, "middle");
  expected.resize(19u << 20);
  RemountFresh();
  EXPECT_EQ(ReadFile(At("a/small")), "small");
  EXPECT_EQ(ReadFile(At("moved/empty")), "");
  EXPECT_TRUE(ReadFile(At("moved/c/large")) == expected);
  EXPECT_EQ(std::filesystem::read_symlink(At("a/link")), "b/c/large");
  EXPECT_EQ(NamesIn(At("a")), (std::set<std::string>{"link", "small"}));
  EXPECT_EQ(NamesIn(mount()), (std::set<std::string>{"a", "moved"}));
  std::filesystem::remove_all(At("moved"));
  std::filesystem::remove_all(At("a"));
  EXPECT_TRUE(NamesIn(mount()).empty());
}

TEST_F(V1Basics, TwoMountsAgreeAtOnce) {
  const std::string other = Mount("other");
  WriteFile(At("f"), "one");
  EXPECT_EQ(ReadFile(other + "/f"), "one");
  WriteFile(other + "/f", "two, longer");
  EXPECT_EQ(ReadFile(At("f")), "two, longer");
  std::filesystem::rename(At("f"), At("g"));
  EXPECT_FALSE(Exists(other + "/f"));
  EXPECT_EQ(ReadFile(other + "/g"), "two, longer");
  std::filesystem::remove(other + "/g");
  EXPECT_FALSE(Exists(At("g")));
}

// Such a gateway renames one file at a time: a directory is in two places for a while.
TEST_F(V1Basics, ADirectoryIsRenamedAsAWholeWhenTheBrokerDiesHalfWay) {
  constexpr size_t kFiles = 200;
  const auto name = [](size_t i) { return std::to_string(i % 7) + "/f" + std::to_string(i); };
  for (size_t i = 0; i < 7; ++i) {
    std::filesystem::create_directories(At("from/" + std::to_string(i)));
  }
  for (size_t i = 0; i < kFiles; ++i) WriteFile(At("from/" + name(i)), std::to_string(i));
  ::context::ContextService::Stub stub(
      grpc::CreateChannel(address(), grpc::InsecureChannelCredentials()));
  const auto files_at_gateway = [&](const std::string& directory) {
    grpc::ClientContext call;
    call.AddMetadata("authorization", "Bearer anything");
    ::context::ListTreeRequest request;
    request.set_path(directory);
    ::context::ListTreeResponse response;
    EXPECT_TRUE(stub.ListTree(&call, request, &response).ok());
    return std::count_if(response.entries().begin(), response.entries().end(),
                         [](const auto& entry) { return S_ISREG(entry.mode()); });
  };
  ASSERT_EQ(files_at_gateway("from"), static_cast<long>(kFiles));
  Process rename({"mv", "-T", At("from"), At("to")}, {.output_file = host().Path("mv")});
  ASSERT_TRUE(WaitUntil(std::chrono::seconds(60), [&] { return files_at_gateway("to") > 10; }));
  host().KillBroker();
  EXPECT_GT(files_at_gateway("from"), 0) << "it died too late";
  host().StartBroker();
  EXPECT_EQ(rename.Wait(std::chrono::seconds(60)), 0) << ReadFile(host().Path("mv"));
  RemountFresh();
  EXPECT_FALSE(Exists(At("from")));
  EXPECT_EQ(files_at_gateway("from"), 0);
  for (size_t i = 0; i < kFiles; ++i) {
    ASSERT_EQ(ReadFile(At("to/" + name(i))), std::to_string(i)) << name(i);
  }
}

}  // namespace
}  // namespace airstore::e2e
