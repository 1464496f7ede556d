// SPDX-License-Identifier: Apache-2.0
//
// v1 as bytes: what no generated client would send, to every method, and what comes back.
#include <grpcpp/generic/generic_stub.h>

#include <sstream>

#include "tests/unit/gateway/v1_bench.h"
#include "tests/unit/gateway/v1_methods.h"

namespace airstore::gateway {
namespace {

using Code = grpc::StatusCode;

struct Method {
  std::string path, response;
};

std::vector<Method> Methods() {
  std::vector<Method> methods;
  std::istringstream lines(kV1Methods);
  std::string request;
  for (Method method; lines >> method.path >> request >> method.response;) {
    methods.push_back(method);
  }
  return methods;
}

class V1Raw : public V1Bench {
 protected:
  struct Answer {
    grpc::Status status;
    std::string bytes;
  };
  // Also of methods that stream: all their messages, one behind the other.
  Answer Send(const std::string& path, const std::string& bytes, const std::string& token) {
    grpc::GenericStub stub(channel_);
    grpc::ClientContext context;
    if (!token.empty()) context.AddMetadata("authorization", "Bearer " + token);
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    grpc::CompletionQueue queue;
    const auto next = [&] {
      void* tag = nullptr;
      bool ok = false;
      EXPECT_TRUE(queue.Next(&tag, &ok));
      return ok;
    };
    auto call = stub.PrepareCall(&context, path, &queue);
    call->StartCall(this);
    Answer answer;
    if (next()) {
      const grpc::Slice slice(bytes);
      call->WriteLast(grpc::ByteBuffer(&slice, 1), grpc::WriteOptions(), this);
      (void)next();
      grpc::ByteBuffer message;
      while (true) {
        call->Read(&message, this);
        if (!next()) break;
        std::vector<grpc::Slice> slices;
        (void)message.Dump(&slices);
        for (const grpc::Slice& one : slices) {
          answer.bytes.append(reinterpret_cast<const char*>(one.begin()), one.size());
        }
      }
    }
    call->Finish(&answer.status, this);
    (void)next();
    queue.Shutdown();
    void* tag = nullptr;
    for (bool ok = false; queue.Next(&tag, &ok);) {
    }
    return answer;
  }

  void ExpectAlive() {
    // path "" of the root: ok = true, a directory.
    const Answer answer = Send("/context.ContextService/Stat", "", token_);
    EXPECT_TRUE(answer.status.ok()) << answer.status.error_message();
    EXPECT_EQ(answer.bytes.substr(0, 2), "\x08\x01");
  }
};

TEST_F(V1Raw, HealthNeedsNoToken) {
  const Answer answer = Send("/grpc.health.v1.Health/Check", "", "");
  EXPECT_TRUE(answer.status.ok());
  EXPECT_EQ(answer.bytes, "\x08\x01");  // SERVING
}

TEST_F(V1Raw, MethodsThatAreNotThereAreUnimplemented) {
  for (const char* path :
       {"/gateway.GatewayService/CreateHook", "/gateway.GatewayService/AddConnection",
        "/gateway.GatewayService/CreateWorkerToken", "/gateway.WorkerService/Register"}) {
    EXPECT_EQ(Send(path, "", token_).status.error_code(), Code::UNIMPLEMENTED) << path;
  }
}

TEST_F(V1Raw, TokensThatAreNotOursAreRefusedByEveryMethod) {
  for (const Method& method : Methods()) {
    const Code code = Send(method.path, "", "ast_of_somebody_else").status.error_code();
    // Who has tried many is to wait.
    EXPECT_TRUE(code == Code::UNAUTHENTICATED || code == Code::RESOURCE_EXHAUSTED)
        << method.path << ": " << code;
  }
}

TEST_F(V1Raw, WithoutATokenEveryMethodFails) {
  for (const Method& method : Methods()) {
    const Answer answer = Send(method.path, "", "");
    EXPECT_TRUE(answer.status.ok()) << method.path;
    // ok is field 1, and false is left out; error is field 2.
    if (method.response.front() != '*') {
      EXPECT_EQ(answer.bytes.substr(0, 1), "\x12") << method.path;
    } else {
      EXPECT_NE(answer.bytes.find("no auth context"), std::string::npos);
    }
  }
}

TEST_F(V1Raw, GarbageIsRefusedAndHarmsNobody) {
  const std::string garbage[] = {
      std::string("\x0a\x7fshort"),                                     // a string that is cut off
      std::string("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),  // a length without end
      std::string("\x0b\x0b\x0b"),                                      // groups that do not close
      std::string("\xff\xff\xff"),                                      // half a tag
  };
  for (const Method& method : Methods()) {
    for (const std::string& bytes : garbage) {
      EXPECT_FALSE(Send(method.path, bytes, token_).status.ok()) << method.path;
    }
  }
  ExpectAlive();
}

TEST_F(V1Raw, UnknownFieldsArePassedOver) {
  // Number 1000, and a path of number 1.
  const std::string bytes = std::string("\xc2\x3e\x03xyz\x0a\x04none");
  const Answer answer = Send("/context.ContextService/Stat", bytes, token_);
  EXPECT_TRUE(answer.status.ok());
  EXPECT_EQ(answer.bytes, "\x12\x09not found");
}

TEST_F(V1Raw, NamesThatAreNoTextAreRefused) {
  const Answer answer =
      Send("/context.ContextService/Mkdir", std::string("\x0a\x03\xff\xfe\xfd"), token_);
  EXPECT_FALSE(answer.status.ok());
  const Answer nul = Send("/context.ContextService/Mkdir", std::string("\x0a\x03x\0y", 5), token_);
  EXPECT_TRUE(nul.status.ok());
  EXPECT_EQ(nul.bytes.substr(0, 1), "\x12");
  ExpectAlive();
}

TEST_F(V1Raw, WhatIsTooLargeIsRefusedAndTheConnectionGoesOn) {
  // A write of 17 MiB; the header of field 2 is made by hand: length 0x1100000.
  const std::string data(17 << 20, 'x');
  const std::string bytes =
      std::string("\x0a\x01") + "f" + std::string("\x12\x80\x80\xc0\x08") + data;
  EXPECT_EQ(Send("/context.ContextService/Write", bytes, token_).status.error_code(),
            Code::RESOURCE_EXHAUSTED);
  ExpectAlive();
}

}  // namespace
}  // namespace airstore::gateway
