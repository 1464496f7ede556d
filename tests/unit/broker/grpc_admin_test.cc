// SPDX-License-Identifier: Apache-2.0
#include "broker/grpc_admin.h"

#include <gtest/gtest.h>

#include "tests/unit/broker/fake_storage.h"
#include "tests/unit/broker/run_task.h"

namespace airstore::broker {
namespace {

class GrpcAdminTest : public testing::Test {
 protected:
  Outcome<WorkspaceEntry> Create(const grpc::Status& answer) {
    server_.admin.create = [answer](const auto& request, auto* response) {
      response->set_name(request.name());
      return answer;
    };
    const auto admin =
        MakeGrpcAdminClient(loop_.get_executor(), *pool_.Get(server_.address()).value, "admin");
    return RunTask(loop_, admin->CreateWorkspace("demo", {}));
  }

  boost::asio::io_context loop_{1};
  GatewayChannelPool pool_{GatewayTls{}};
  fake::Server server_;
};

TEST_F(GrpcAdminTest, PassesAnswers) {
  const auto made = Create(grpc::Status::OK);
  ASSERT_TRUE(made.value);
  EXPECT_EQ(made.value->name, "demo");
  const auto admin =
      MakeGrpcAdminClient(loop_.get_executor(), *pool_.Get(server_.address()).value, "admin");
  const auto tokens = RunTask(loop_, admin->ListTokens("w"));
  ASSERT_TRUE(tokens.value);
  EXPECT_EQ(tokens.value->at(0).workspace, "w");
}

TEST_F(GrpcAdminTest, FailuresHaveTheirKinds) {
  using grpc::StatusCode;
  const std::pair<StatusCode, FailureKind> kinds[] = {
      {StatusCode::ALREADY_EXISTS, FailureKind::kExists},
      {StatusCode::NOT_FOUND, FailureKind::kNotFound},
      {StatusCode::UNAUTHENTICATED, FailureKind::kPermission},
      {StatusCode::PERMISSION_DENIED, FailureKind::kPermission},
      {StatusCode::INVALID_ARGUMENT, FailureKind::kUsage},
      {StatusCode::UNAVAILABLE, FailureKind::kUnreachable},
      {StatusCode::UNIMPLEMENTED, FailureKind::kInternal},
      {StatusCode::INTERNAL, FailureKind::kInternal}};
  for (const auto& [status, kind] : kinds) {
    const auto made = Create({status, "why"});
    ASSERT_FALSE(made.value);
    EXPECT_EQ(made.failure.kind, kind) << status;
    EXPECT_NE(made.failure.message.find("why"), std::string::npos) << made.failure.message;
  }
}

}  // namespace
}  // namespace airstore::broker
